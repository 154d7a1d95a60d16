/**
 * A node that listens on "any port" keeps the one it got: after a restart its peers find it where they knew it. Remembered in one small file,
 * {"<configured multiaddr>": port}; a port that is taken meanwhile is given up for another.
 */
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { writeFileAtomic } from '../files/atomic-file.ts'

const ANY_PORT = /^(\/ip[46]\/([^/]+)\/tcp)\/0$/

/** "/ip4" or "/ip6" */
const FAMILY_LETTERS = 4

/** The multiaddrs to listen on: those with port 0 get the port of the last time, if it is free. */
export async function withKeptPorts(listen: readonly string[], file: string): Promise<string[]> {
  if (!listen.some((address) => ANY_PORT.test(address))) return [...listen]
  const kept = await readPorts(file)
  return Promise.all(
    listen.map(async (address) => {
      const [, prefix, host = ''] = ANY_PORT.exec(address) ?? []
      const port = kept[address]
      return prefix !== undefined && port !== undefined && (await isFree(host, port)) ? `${prefix}/${port}` : address
    }),
  )
}

/** @param addresses what the node really listens on */
export async function keepPorts(listen: readonly string[], addresses: readonly string[], file: string): Promise<void> {
  const kept = await readPorts(file)
  const next: Record<string, number> = {}
  const named = new Set(listen.map(hostOf))
  for (const address of listen) {
    const host = hostOf(address)
    const ofFamily = addresses.filter((found) => found.slice(0, FAMILY_LETTERS) === address.slice(0, FAMILY_LETTERS))
    // One of the host as a whole is told as those of its interfaces.
    const found =
      ofFamily.find((one) => hostOf(one) === host) ?? ofFamily.find((one) => !named.has(hostOf(one))) ?? ofFamily[0]
    const port = /^\/ip[46]\/[^/]+\/tcp\/(\d+)/.exec(found ?? '')?.[1]
    if (ANY_PORT.test(address) && port !== undefined) next[address] = Number(port)
  }
  if (Object.keys(next).length > 0 && JSON.stringify(next) !== JSON.stringify(kept)) {
    await writeFileAtomic(file, `${JSON.stringify(next)}\n`)
  }
}

/** "/ip4/<host>" */
function hostOf(address: string): string {
  return address.split('/', 3).join('/')
}

/** Whatever cannot be read is as good as nothing: the node then takes any port. */
async function readPorts(file: string): Promise<Record<string, number>> {
  try {
    const value: unknown = JSON.parse(await readFile(file, 'utf8'))
    const entries = typeof value === 'object' && value !== null ? Object.entries(value) : []
    return Object.fromEntries(
      entries.filter(
        (entry): entry is [string, number] => Number.isInteger(entry[1]) && entry[1] > 0 && entry[1] < 65_536,
      ),
    )
  } catch {
    return {}
  }
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, host, () => server.close(() => resolve(true)))
  })
}
