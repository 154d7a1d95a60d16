/** Memory of two real daemons of which one clones a large artifact from the other. */
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { RealMesh } from '../../test/support/real-mesh.ts'

const run = promisify(execFile)
const ROUNDS = 3
const SETTINGS = { 'api.port': '0' }

/** Highest resident size of a process since it was begun anew, MiB. */
async function highest(pid: number): Promise<number> {
  const [, kib] = /VmHWM:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kib) / 1024
}

/** @param repository with a branch main @returns of the daemon that gives it and of the one that takes it, MiB */
export async function cloneMemory(repository: string): Promise<{ giver: number; taker: number }> {
  const mesh = await RealMesh.start({ name: 'giver', settings: SETTINGS }, { name: 'taker', settings: SETTINGS })
  try {
    const [giver, taker] = mesh.nodes
    if (giver === undefined || taker === undefined) throw new Error('two nodes were started')
    const made = await (await giver.sdk()).artifacts.create({ name: 'large' })
    const { token } = await made.tokens.create({ access: 'write' })
    const url = new URL((await made.refresh()).gitUrl ?? '')
    url.username = 'x'
    url.password = token
    await run('git', ['-C', repository, 'push', '-q', url.href, 'main:main'])
    // Forgets the highest size so far (proc(5), clear_refs)
    for (const { pid } of mesh.nodes) await writeFile(`/proc/${pid}/clear_refs`, '5')
    for (let round = 0; round < ROUNDS; round++) {
      const copy = await (await taker.sdk()).artifacts.fetch(made.id)
      await copy.remove()
    }
    return { giver: await highest(giver.pid), taker: await highest(taker.pid) }
  } finally {
    await mesh.close()
  }
}
