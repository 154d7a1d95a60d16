/** Tokens for Git clients of one artifact. */
import type { Context } from '../context.ts'
import { gitTokensText } from '../artifact-views.ts'
import { safeLine } from '../terminal.ts'
import { parseDuration } from '../units.ts'
import { chosen } from '../words.ts'

export interface TokenFlags {
  readonly access?: string
  readonly ttl?: string
  readonly name?: string
}

export async function create({ mesh, output }: Context, artifact: string, flags: TokenFlags): Promise<undefined> {
  const access = chosen('access', flags.access, ['read', 'write'])
  const made = await (await (await mesh()).artifact(artifact)).tokens.create({
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(access === undefined ? {} : { access }),
    ...(flags.ttl === undefined ? {} : { ttlMs: parseDuration(flags.ttl) }),
  })
  await output.answer(made, () => safeLine(made.token))
  if (!output.json) output.note(`id ${safeLine(made.id)}; the token is shown this once`)
}

export async function list({ mesh, output }: Context, artifact: string): Promise<undefined> {
  const tokens = await (await (await mesh()).artifact(artifact)).tokens.list()
  await output.answer({ tokens }, () => gitTokensText(tokens, output.io.columns))
}

export async function revoke({ mesh, output }: Context, artifact: string, token: string): Promise<undefined> {
  const tokens = await (await (await mesh()).artifact(artifact)).tokens.revoke(token)
  await output.answer({ tokens }, () => `revoked ${safeLine(token)}`)
}
