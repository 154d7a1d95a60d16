/** A small project with this project's own rules, into which faults are planted to see the gates find them. */
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const PROJECT = fileURLToPath(new URL('../..', import.meta.url))
const RULES = ['.dependency-cruiser.mjs', '.oxlintrc.json', 'biome.json', 'knip.json', 'tsconfig.json'] as const

/** Path to text. */
export type Files = Readonly<Record<string, string>>

/** Sound: every gate passes on it. */
const SOUND: Files = {
  'package.json': `${JSON.stringify({ name: 'planted', version: '0.0.0', type: 'module', workspaces: ['sdk'] }, null, 2)}\n`,
  'sdk/package.json': `${JSON.stringify({ name: 'planted-sdk', version: '0.0.0', type: 'module' }, null, 2)}\n`,
  'protocol/api.ts': 'export interface View {\n  readonly id: string\n}\n',
  'protocol/next.ts': 'export const next = (now: number): number => now + 1\n',
  'sdk/src/index.ts': `import type { View } from '../../protocol/api.ts'\n\nexport const idOf = (view: View): string => view.id\n`,
  'daemon/main.ts': `import { next } from '../protocol/next.ts'\n\nexport const later = (): number => next(Date.now())\n`,
  'daemon/cli/main.ts': `import { idOf } from '../../sdk/src/index.ts'\n\nexport const shown = idOf({ id: 'a' })\n`,
}

export interface Planted extends AsyncDisposable {
  readonly root: string
}

/** Owner disposes; the folder goes with it. */
export async function plant(faults: Files): Promise<Planted> {
  const root = await mkdtemp(join(tmpdir(), 'manyhands-planted-'))
  for (const [path, text] of Object.entries({ ...SOUND, ...faults })) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
  for (const name of RULES) await copyFile(join(PROJECT, name), join(root, name))
  await symlink(join(PROJECT, 'node_modules'), join(root, 'node_modules'))
  return { root, [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }) }
}
