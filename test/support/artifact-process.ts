/** A node with artifacts as a process of its own, so that it can be killed: `node artifact-process.ts <folder> <seed, hex>`. Says its address, then answers questions: "<artifact>", what it holds of it, or "<artifact> <sha256>", the size of a large file. */
import { createNet } from '../../daemon/net/libp2p-net.ts'
import { artifactNode, levelJournal } from './artifact-node.ts'

export const NETWORK_KEY = new Uint8Array(32).fill(9)
/** Times that make tests short. */
export const QUICK = { graceMs: 1_000, pauseMs: 50, maxPauseMs: 500 }

async function main(folder: string, seedHex: string): Promise<void> {
  const seed = new Uint8Array(Buffer.from(seedHex, 'hex'))
  const gate = { admits: () => true, serves: () => true }
  const listen = ['/ip4/127.0.0.1/tcp/0']
  const base = { meshId: 'test', seed, networkKey: NETWORK_KEY, gate, listen }
  const net = await createNet({ ...base, allowLoopback: true, inboundPerSecond: 1000 })
  const journal = await levelJournal(folder)
  const node = await artifactNode({ seed, folder, net, journal, times: QUICK, checkMs: 500 })
  process.on('message', (question: string) => {
    const [artifact = '', file] = question.split(' ')
    if (file !== undefined) return process.send?.({ size: node.files.size(artifact, file) ?? 0 })
    const heads = node.store.get(artifact) === undefined ? [] : [...node.store.heads(artifact)]
    return process.send?.({ heads: heads.map(([writer, { sequence }]) => [writer, sequence]) })
  })
  process.on('disconnect', () => process.exit())
  process.send?.({ id: node.id, addresses: net.addresses() })
}

const [, , folder, seed] = process.argv
if (process.argv[1]?.endsWith('artifact-process.ts') === true) await main(folder ?? '', seed ?? '')
