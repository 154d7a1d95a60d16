/** An image with Git in it, made of this host's own Git and the libraries it is linked with: no registry is asked. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { ask, busyboxRoot, importRoot } from './docker-engine.ts'

const run = promisify(execFile)

export const GIT_IMAGE = 'manyhands-test/git:1'

/** @returns the image's name */
export async function makeGitImage(socket: string): Promise<string> {
  if ((await ask(socket, 'GET', `/images/${GIT_IMAGE}/json`)).status === 200) return GIT_IMAGE
  const git = (await run('sh', ['-c', 'command -v git'])).stdout.trim()
  const core = (await run('git', ['--exec-path'])).stdout.trim()
  const programs = [git, join(core, 'git-remote-http')]
  const libraries = new Set<string>()
  for (const program of programs) {
    const { stdout } = await run('ldd', [program])
    for (const [, path = ''] of stdout.matchAll(/(\/\S+) \(0x/g)) libraries.add(path)
  }
  const files = [...programs, ...libraries].filter((path) => existsSync(path))
  const copies = files.flatMap((path) => [`mkdir -p .${dirname(path)}`, `cp -L ${path} .${path}`])
  await importRoot(socket, GIT_IMAGE, await busyboxRoot(copies))
  return GIT_IMAGE
}
