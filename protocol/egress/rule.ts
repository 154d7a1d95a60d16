/**
 * A rule of the door to the outside. Rules say who may reach what and what is done on the way; without a matching allow nothing passes, and a matching deny
 * always wins. As JSON, in the policy file and in the local API:
 *
 *   { "id": "r1", "for": ["agent/ci"], "effect": "allow", "host": "api.example.com", "methods": ["GET"],
 *     "inject": [{ "header": "authorization", "secret": "github", "as": "bearer" }] }
 */
import * as z from 'zod'
import { canonicalHost, canonicalPattern } from './host.ts'
import { EGRESS_LIMITS } from './limits.ts'

const NAME = /^[a-zA-Z0-9][\w.-]{0,63}$/
const HEADER = /^[a-z0-9!#$%&'*+.^_`|~-]{1,64}$/
const list = <T extends z.ZodType>(item: T) => z.array(item).min(1).max(EGRESS_LIMITS.listItems)

/** Name of a secret, service, rule or handler program. */
export const EgressName = z.string().regex(NAME, 'is 1 to 64 letters, digits, "." "_" "-"')
const headerName = z
  .string()
  .toLowerCase()
  .regex(HEADER, 'is the name of a header')
  .refine((name) => !UNTOUCHABLE.has(name), 'is a header the proxy itself sets')
const headerValue = z
  .string()
  .max(4096)
  .regex(/^[\t\x20-\x7e\x80-\xff]*$/, 'has no control characters')

/** Headers that frame a message or say where it goes: a rule that changed them could make one request into two. */
const UNTOUCHABLE = new Set([
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Whom a rule is for: `any`, or one name of one kind. `agent/*` is every agent. */
export const Selector = z
  .string()
  .max(200)
  .regex(
    /^(?:any|(?:agent|task|sandbox|node)\/(?:\*|[\w.:-]{1,128}))$/,
    'is "any", "agent/<name>", "task/<id>", "sandbox/<name>" or "node/<id>"',
  )

/** Puts a secret into a header of a matching request; the guest's own header of that name is dropped. */
const Injection = z.strictObject({
  header: headerName,
  secret: EgressName,
  /** `bearer` and `basic` as in RFC 6750 and 7617. @default bearer for authorization, raw for others */
  as: z.enum(['raw', 'bearer', 'basic']).exactOptional(),
  /** With `basic` */
  user: z
    .string()
    .max(128)
    .regex(/^[^:\x00-\x1f\x7f]*$/)
    .exactOptional(),
})

/** Replaces the placeholder a guest holds by the secret, in these headers only. */
const Replacement = z.strictObject({
  secret: EgressName,
  headers: list(headerName),
  /** Environment variable in which the guest finds the placeholder */
  env: z
    .string()
    .regex(/^[A-Za-z_]\w{0,63}$/)
    .exactOptional(),
})

const Rewrite = z.strictObject({
  scheme: z.enum(['http', 'https']).exactOptional(),
  host: z.string().max(253).exactOptional(),
  port: z.number().int().min(1).max(65_535).exactOptional(),
  /** Replaces this beginning of the path */
  path: z
    .strictObject({ from: z.string().startsWith('/').max(1024), to: z.string().startsWith('/').max(1024) })
    .exactOptional(),
  set: z.record(headerName, headerValue).exactOptional(),
  remove: list(headerName).exactOptional(),
})

export const Rule = z
  .strictObject({
    id: EgressName,
    for: list(Selector),
    effect: z.enum(['allow', 'deny']),
    /** A name, `*.example.com` (any name below it), an address, or `*` */
    host: z.string().min(1).max(253),
    /** @default 80 and 443 for allow, all for deny */
    ports: list(z.number().int().min(1).max(65_535)).exactOptional(),
    methods: list(
      z
        .string()
        .toUpperCase()
        .regex(/^[A-Z][A-Z-]{0,31}$/),
    ).exactOptional(),
    /** `*` stands for anything, also nothing; the query is not looked at */
    path: z.string().startsWith('/').max(1024).exactOptional(),
    /** Ranges as CIDR that are not public and may be reached by this rule. Own and metadata addresses must be named exactly (/32, /128) */
    addresses: list(z.string().max(64)).exactOptional(),
    inject: list(Injection).exactOptional(),
    replace: list(Replacement).exactOptional(),
    rewrite: Rewrite.exactOptional(),
    /** A program that answers instead of the host */
    handler: EgressName.exactOptional(),
    /** Lets tunnels through that are not TLS to this very host. @default false */
    opaque: z.boolean().exactOptional(),
    /** Lets credentials of this rule travel over plain HTTP. @default false */
    plain: z.boolean().exactOptional(),
    /** For people */
    note: z.string().max(200).exactOptional(),
  })
  .superRefine((rule, context) => {
    const fault = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
    if (canonicalPattern(rule.host) === undefined) fault('host', 'is a name, "*.name", an address or "*"')
    if (rule.rewrite?.host !== undefined && canonicalHost(rule.rewrite.host) === undefined)
      fault('rewrite', 'needs the name or address of a host')
    if (rule.effect === 'deny' && ACTIONS.some((name) => rule[name] !== undefined))
      fault('effect', 'denies: nothing else can be done on the way')
    if (rule.opaque === true && looksInside(rule))
      fault('opaque', 'lets bytes through unseen: methods, paths and headers cannot be looked at')
    const broad = rule.host === '*' || rule.host.startsWith('*.')
    if (rule.host === '*' && (rule.inject ?? rule.replace) !== undefined)
      fault('host', 'must name who gets the credential')
    if (broad && rule.handler === undefined && rule.rewrite?.host !== undefined && rule.inject !== undefined)
      fault('rewrite', 'with a credential needs one exact host')
  })
  .transform((rule) => ({ ...rule, host: canonicalPattern(rule.host) ?? rule.host }))

const ACTIONS = ['inject', 'replace', 'rewrite', 'handler', 'opaque', 'addresses', 'plain'] as const

export type Rule = z.output<typeof Rule>
export type RuleInput = z.input<typeof Rule>
export type Injection = z.infer<typeof Injection>
export type Replacement = z.infer<typeof Replacement>
export type Rewrite = z.infer<typeof Rewrite>

/** Whether a rule can only be kept by reading the requests themselves, so that TLS must end at the proxy. */
export function looksInside(
  rule: Pick<Rule, 'methods' | 'path' | 'inject' | 'replace' | 'rewrite' | 'handler'>,
): boolean {
  return [rule.methods, rule.path, rule.inject, rule.replace, rule.rewrite, rule.handler].some(
    (part) => part !== undefined,
  )
}

/** Names of the secrets a rule uses. */
export function secretsOf(rule: Pick<Rule, 'inject' | 'replace'>): string[] {
  return [...(rule.inject ?? []), ...(rule.replace ?? [])].map(({ secret }) => secret)
}

/** Whose traffic it is. All that is known is set; a rule for any of the names applies. */
export const EgressSubject = z.strictObject({
  agent: z.string().max(128).exactOptional(),
  task: z.string().max(128).exactOptional(),
  sandbox: z.string().max(128).exactOptional(),
  /** The node whose work it is */
  node: z.string().max(128).exactOptional(),
})
export type EgressSubject = z.infer<typeof EgressSubject>
