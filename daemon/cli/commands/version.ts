import { readFile } from 'node:fs/promises'
import type { Context } from '../context.ts'

/** From the package's own description; needs no daemon. */
export async function version({ output }: Context): Promise<undefined> {
  const found = await packageVersion()
  await output.answer({ version: found, node: process.versions.node }, () => found)
}

async function packageVersion(): Promise<string> {
  // From the source this is three folders up, from the bundle one
  for (const path of ['../../../package.json', '../package.json']) {
    const text = await readFile(new URL(path, import.meta.url), 'utf8').catch(() => '{}')
    const value: unknown = JSON.parse(text)
    if (isManyhands(value)) return value.version
  }
  return 'unknown'
}

function isManyhands(value: unknown): value is { readonly name: 'manyhands'; readonly version: string } {
  if (typeof value !== 'object' || value === null || !('name' in value) || !('version' in value)) return false
  return value.name === 'manyhands' && typeof value.version === 'string'
}
