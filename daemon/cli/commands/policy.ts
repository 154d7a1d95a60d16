/** What guests may reach. */
import {
  type EgressSubject,
  ManyhandsError,
  type MissingPart,
  type PolicyAnswer,
  type PolicyRule,
  type PolicyRuleInput,
} from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { pairs, table } from '../table.ts'
import { safeLine } from '../terminal.ts'
import { parseCount } from '../units.ts'

export interface DenyFlags {
  readonly host: string
  readonly for?: string[]
  readonly port?: string[]
  readonly method?: string[]
  readonly path?: string
  readonly id?: string
  readonly note?: string
}

export interface AllowFlags extends DenyFlags {
  readonly address?: string[]
  readonly inject?: string[]
  readonly replace?: string[]
  readonly placeholder?: string
  readonly rewrite?: string
  readonly handler?: string
  readonly opaque?: boolean
  readonly plain?: boolean
}

type Rule = PolicyRuleInput & { readonly id?: string }

export async function allow(context: Context, flags: AllowFlags): Promise<undefined> {
  const { address, inject, replace, placeholder, rewrite, handler, opaque, plain } = flags
  if (placeholder !== undefined && replace === undefined)
    throw new ManyhandsError('E_BAD_REQUEST', 'Cannot use --placeholder without --replace, which names the secret')
  return put(context, {
    ...common(flags),
    effect: 'allow',
    ...(address === undefined ? {} : { addresses: address }),
    ...(inject === undefined ? {} : { inject: inject.map(headerAndSecret) }),
    ...(replace === undefined ? {} : { replace: replace.map((text) => replacement(text, placeholder)) }),
    ...(rewrite === undefined ? {} : { rewrite: rewriteOf(rewrite) }),
    ...(handler === undefined ? {} : { handler }),
    ...(opaque === undefined ? {} : { opaque }),
    ...(plain === undefined ? {} : { plain }),
  })
}

export async function deny(context: Context, flags: DenyFlags): Promise<undefined> {
  return put(context, { ...common(flags), effect: 'deny' })
}

async function put({ mesh, output }: Context, rule: Rule): Promise<undefined> {
  const kept = await (await mesh()).policy.put(rule)
  await output.answer(kept, () => `${safeLine(kept.id)}  ${safeLine(ruleText(kept))}`)
  for (const part of kept.missing ?? []) output.note(`missing: ${missingText(part)}`)
}

function common({ host, for: subjects = ['any'], port, method, path, id, note }: DenyFlags): Omit<Rule, 'effect'> {
  return {
    host,
    for: subjects,
    ...(port === undefined ? {} : { ports: port.map(parseCount) }),
    ...(method === undefined ? {} : { methods: method.map((one) => one.toUpperCase()) }),
    ...(path === undefined ? {} : { path }),
    ...(id === undefined ? {} : { id }),
    ...(note === undefined ? {} : { note }),
  }
}

/** "Authorization=github". @throws ManyhandsError E_BAD_REQUEST */
function headerAndSecret(text: string): { readonly header: string; readonly secret: string } {
  const [header = '', secret = '', ...rest] = text.split('=')
  if (header !== '' && secret !== '' && rest.length === 0) return { header: header.toLowerCase(), secret }
  throw new ManyhandsError('E_BAD_REQUEST', `"${text}" is not a header and a secret`, {
    hint: 'Write Header=secret, e.g. Authorization=github',
  })
}

function replacement(text: string, env: string | undefined) {
  const { header, secret } = headerAndSecret(text)
  return { secret, headers: [header], ...(env === undefined ? {} : { env }) }
}

function rewriteOf(text: string): NonNullable<PolicyRuleInput['rewrite']> {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const scheme = url?.protocol === 'https:' ? 'https' : url?.protocol === 'http:' ? 'http' : undefined
  if (!url || !scheme)
    throw new ManyhandsError('E_BAD_REQUEST', `"${text}" is not a place to go to`, {
      hint: 'Write https://host or http://host:port',
    })
  return { scheme, host: url.hostname, ...(url.port === '' ? {} : { port: Number(url.port) }) }
}

export async function list({ mesh, output }: Context): Promise<undefined> {
  const rules = await (await mesh()).policy.list()
  await output.answer({ rules }, () => {
    if (rules.length === 0)
      return 'No rules: guests reach nothing. Allow a host with: manyhands policy allow --host ...'
    return table(
      [
        { title: 'ID', of: (rule: PolicyRule) => rule.id, room: 'whole' },
        { title: 'EFFECT', of: (rule) => rule.effect },
        { title: 'FOR', of: (rule) => rule.for.join(' ') },
        { title: 'HOST', of: (rule) => rule.host },
        { title: 'WHAT', of: (rule) => whatText(rule) || undefined },
        { title: 'NOTE', of: (rule) => rule.note },
      ],
      rules,
      output.io.columns,
    )
  })
}

function ruleText(rule: PolicyRule): string {
  return [rule.effect, rule.host, `for ${rule.for.join(', ')}`, whatText(rule)].filter((part) => part !== '').join('  ')
}

function whatText({ ports, methods, path, inject, replace, rewrite, handler, opaque }: PolicyRule): string {
  return [
    ports && `port ${ports.join(',')}`,
    methods?.join(','),
    path,
    inject?.map(({ header, secret }) => `${header} from ${secret}`).join(', '),
    replace?.map(({ headers, secret }) => `${secret} in ${headers.join(',')}`).join(', '),
    rewrite &&
      `to ${rewrite.scheme ?? ''}://${rewrite.host ?? ''}${rewrite.port === undefined ? '' : `:${rewrite.port}`}`,
    handler && `by ${handler}`,
    opaque && 'opaque',
  ]
    .filter(Boolean)
    .join('  ')
}

export async function remove({ mesh, output }: Context, id: string): Promise<undefined> {
  await (await mesh()).policy.remove(id)
  await output.answer({ removed: id }, () => `removed ${safeLine(id)}`)
}

/** Exit code 1 when it would be denied. */
export async function explain(
  { mesh, output }: Context,
  url: string,
  flags: { readonly for?: string[]; readonly method?: string },
): Promise<number> {
  const { method } = flags
  const answer = await (await mesh()).policy.explain({
    url,
    subject: subjectOf(flags.for ?? []),
    ...(method === undefined ? {} : { method: method.toUpperCase() }),
  })
  await output.answer(answer, () => answerText(answer, output.io.columns))
  return answer.decision === 'allow' ? 0 : 1
}

/** "agent/ci sandbox/dev". @throws ManyhandsError E_BAD_REQUEST */
function subjectOf(texts: readonly string[]): EgressSubject {
  const subject = new Map<string, string>()
  for (const text of texts) {
    const [, kind, name] = /^(agent|task|sandbox|node)\/(.+)$/.exec(text) ?? []
    if (kind === undefined || name === undefined)
      throw new ManyhandsError('E_BAD_REQUEST', `"${text}" is not a subject`, {
        hint: 'Write agent/<name>, task/<id>, sandbox/<name> or node/<id>',
      })
    if (subject.has(kind))
      throw new ManyhandsError(
        'E_BAD_REQUEST',
        `Cannot explain it for two of one kind: "${text}" is the second ${kind}`,
        {
          hint: 'A guest has one name of each kind; ask once for each',
        },
      )
    subject.set(kind, name)
  }
  return Object.fromEntries(subject)
}

function missingText({ kind, name }: MissingPart): string {
  return kind === 'secret'
    ? `secret ${safeLine(name)}: the request goes out without it; set it with: manyhands secret set ${safeLine(name)}`
    : `handler ${safeLine(name)}: the request fails; write handlers/${safeLine(name)}.ts in the data folder (manyhands paths)`
}

function answerText(answer: PolicyAnswer, width: number | undefined): string {
  const why = { allowed: 'a rule allows it', denied: 'a rule denies it', 'no-rule': 'no rule allows it' }[answer.reason]
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['decision', `${answer.decision}: ${why}`],
    ['rule', answer.rule && `${answer.rule.id}  ${ruleText(answer.rule)}`],
    ['tunnel', answer.tunnel],
    ...(answer.missing ?? []).map((part) => ['missing', missingText(part)] as const),
  ]
  const head = pairs(rows.filter((row): row is readonly [string, string] => row[1] !== undefined))
  if (answer.considered.length === 0) return head
  const considered = table(
    [
      { title: 'RULE', of: (one: PolicyAnswer['considered'][number]) => one.rule },
      { title: 'EFFECT', of: (one) => one.effect },
      { title: 'MATCHED', of: (one) => (one.matched ? 'yes' : 'no') },
      { title: 'WHY', of: (one) => one.why },
    ],
    answer.considered,
    width,
  )
  return `${head}\n\n${considered}`
}
