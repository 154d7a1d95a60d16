/** Two network namespaces joined by a pair of virtual Ethernet devices, for daemons whose link a test changes. Only root may make them. */
import { execFileSync, spawnSync } from 'node:child_process'
import type { NodeOptions } from './real-mesh.ts'

export const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' })

/** Why there can be none here. */
export function vethProblem(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may make network namespaces'
  const name = `mh${process.pid}`
  const made = spawnSync('ip', ['netns', 'add', name])
  if (made.status === 0) ip('netns', 'del', name)
  return made.status === 0 ? undefined : 'network namespaces are not to be had here'
}

export class VethPair {
  readonly alice = `mha${process.pid}`
  readonly bob = `mhb${process.pid}`

  /** Alice is 10.91.0.1, Bob 10.91.0.2, each on its `eth0`. */
  connect(): void {
    for (const name of [this.alice, this.bob]) ip('netns', 'add', name)
    ip('link', 'add', 'eth0', 'netns', this.alice, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', this.bob)
    for (const [name, address] of [
      [this.alice, '10.91.0.1/24'],
      [this.bob, '10.91.0.2/24'],
    ] as const) {
      ip('-n', name, 'addr', 'add', address, 'dev', 'eth0')
      ip('-n', name, 'link', 'set', 'eth0', 'up')
      ip('-n', name, 'link', 'set', 'lo', 'up')
    }
  }

  /** A daemon in the namespace of its name. */
  inside(name: 'alice' | 'bob'): NodeOptions {
    return {
      name,
      through: ['ip', 'netns', 'exec', this[name]],
      settings: { 'net.listen': '/ip4/0.0.0.0/tcp/0', 'api.port': '0' },
    }
  }

  /** Both directions carry no more than so many kilobits per second, with a queue that takes 400 ms. */
  slow(kbit: number): void {
    const shape = ['root', 'tbf', 'rate', `${kbit}kbit`, 'burst', '4kb', 'latency', '400ms']
    for (const name of [this.alice, this.bob]) execFileSync('tc', ['-n', name, 'qdisc', 'add', 'dev', 'eth0', ...shape])
  }

  remove(): void {
    for (const name of [this.alice, this.bob]) spawnSync('ip', ['netns', 'del', name])
  }
}
