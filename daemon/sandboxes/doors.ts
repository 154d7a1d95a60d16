/**
 * The way out of each sandbox of this node. A sandbox of this node's own gets a door here, one of a peer's gets a door that leads to that peer, by the ticket
 * it sent. A door is led into the container after each start of it; until that is done, commands wait, so that none finds the way shut.
 */
import { MeshError } from '../../protocol/errors.ts'
import { GRADES } from '../../protocol/job.ts'
import type { ArtifactsEntry, DoorTicket, EgressDoor, OpenDoor } from '../egress/egress.ts'
import type { GuestConnection, GuestFiles } from '../exec/sandbox/guest/guest-connection.ts'
import type { Sandbox, SandboxView } from '../exec/sandbox/sandbox.ts'
import { ownerParts } from './host-view.ts'

type GuestWithDoor = Pick<GuestConnection, 'listen'> & {
  readonly files: Pick<GuestFiles, 'write'>
  readonly features: Pick<GuestConnection['features'], 'ports'>
}

type SandboxWithDoor = Pick<Sandbox, 'id' | 'hostPid'> & {
  view(): Pick<SandboxView, 'owner' | 'name' | 'grade'>
}

interface Held {
  readonly door: OpenDoor
  /** What it was led into last: a container's network, by its first process, or what the agent inside listens on, by the connection to it */
  led: number | GuestWithDoor | undefined
  leading: { readonly guest: GuestWithDoor; readonly done: Promise<void> } | undefined
  /** Its files did not fit where they belong: the root is read-only */
  moved: boolean
}

export interface DoorsOptions {
  readonly egress: Pick<EgressDoor, 'open' | 'leadHome'>
  readonly self: string
  /** What the guest of a sandbox of this node's own finds as artifacts */
  readonly artifacts: (sandbox: string) => ArtifactsEntry
  readonly warn: (facts: object, message: string) => void
}

/** Where a kit's own files are in a guest, and where they go when that cannot be written */
const PLACE = '/run/manyhands/'
const OTHER_PLACE = '/tmp/.manyhands/'

function movedEnv(env: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value.replaceAll(PLACE, OTHER_PLACE)]))
}

const NONE: Readonly<Record<string, string>> = {}

export class Doors {
  readonly #options: DoorsOptions
  readonly #held = new Map<string, Promise<Held | undefined>>()

  constructor(options: DoorsOptions) {
    this.#options = options
  }

  /** Environment for commands; resolves once the way out is there, or cannot be. */
  async ready(sandbox: SandboxWithDoor, guest: GuestWithDoor): Promise<Readonly<Record<string, string>>> {
    const held = await (this.#held.get(sandbox.id) ?? this.#openOwn(sandbox))
    if (!held) return NONE
    // Into a guest that it had before it started anew
    while (held.leading && held.leading.guest !== guest) await held.leading.done
    if (held.led !== guest && (held.led === undefined || held.led !== sandbox.hostPid()))
      await this.#lead(held, sandbox, guest)
    return held.moved ? movedEnv(held.door.env) : held.door.env
  }

  /** The asker lent a door. Replaces the one before. */
  async lent(sandbox: SandboxWithDoor, peer: string, ticket: DoorTicket): Promise<void> {
    const before = this.#held.get(sandbox.id)
    await this.#hold(sandbox, async () => {
      await (await before)?.door.close()
      return this.#options.egress.leadHome(peer, ticket)
    })
  }

  /** Closes the door of a sandbox that is gone, or whose owner is. */
  async forget(id: string): Promise<void> {
    const held = this.#held.get(id)
    this.#held.delete(id)
    await (await held)?.door.close()
  }

  async close(): Promise<void> {
    await Promise.all([...this.#held.keys()].map((id) => this.forget(id)))
  }

  #openOwn(sandbox: SandboxWithDoor): Promise<Held | undefined> {
    const { node, agent } = ownerParts(sandbox.view().owner)
    const { self, egress, artifacts } = this.#options
    // A peer's work goes out by the peer's own door or not at all
    if (node !== self) return Promise.resolve(undefined)
    const name = sandbox.view().name ?? sandbox.id
    return this.#hold(sandbox, () =>
      egress.open({ sandbox: name, node, ...(agent === undefined ? {} : { agent }) }, {}, artifacts(sandbox.id)),
    )
  }

  /** One that did not open is not held: the next command, or the next ticket, tries again. */
  #hold(sandbox: SandboxWithDoor, open: () => Promise<OpenDoor>): Promise<Held | undefined> {
    const held: Promise<Held | undefined> = open().then(
      (door) => ({ door, led: undefined, leading: undefined, moved: false }),
      (error: unknown) => {
        this.#options.warn({ err: error, sandbox: sandbox.id }, 'a sandbox has no way out: its door did not open')
        if (this.#held.get(sandbox.id) === held) this.#held.delete(sandbox.id)
        return undefined
      },
    )
    this.#held.set(sandbox.id, held)
    return held
  }

  /** Shared by commands that come at once. A failure leaves the guest without network, which is safe, and is tried again with the next command. */
  async #lead(held: Held, sandbox: SandboxWithDoor, guest: GuestWithDoor): Promise<void> {
    held.leading ??= {
      guest,
      done: this.#leadOnce(held, sandbox, guest)
        .catch((error: unknown) =>
          this.#options.warn({ err: error, sandbox: sandbox.id }, 'a sandbox has no way out: its door was not led in'),
        )
        .finally(() => {
          held.leading = undefined
        }),
    }
    await held.leading.done
  }

  /** A read-only root has no room for some of them: what the environment names goes elsewhere, the configuration of package managers is of no use there. */
  async #put(held: Held, guest: GuestWithDoor, { path, content, mode }: OpenDoor['files'][number]): Promise<void> {
    try {
      await guest.files.write(path, content, { mode })
    } catch (error) {
      if (!(error instanceof MeshError) || (error.code !== 'E_FORBIDDEN' && error.code !== 'E_NOT_FOUND')) throw error
      if (!path.startsWith(PLACE)) return
      await guest.files.write(path.replace(PLACE, OTHER_PLACE), content, { mode })
      held.moved = true
    }
  }

  async #leadOnce(held: Held, sandbox: SandboxWithDoor, guest: GuestWithDoor): Promise<void> {
    for (const file of held.door.files) await this.#put(held, guest, file)
    held.led = undefined
    const pid = joinable(sandbox)
    if (pid !== undefined) {
      try {
        await held.door.lead({ kind: 'namespace', pid })
        held.led = pid
        return
      } catch (error) {
        if (!guest.features.ports) throw error
      }
    }
    await held.door.lead({ kind: 'guest', guest })
    held.led = guest
  }
}

/**
 * First process of a container whose network this daemon may join: the shorter way. gVisor and virtual machines have a network of their own inside, and without
 * root no namespace is joined: there the agent inside listens.
 */
function joinable(sandbox: SandboxWithDoor): number | undefined {
  const shared = GRADES.indexOf(sandbox.view().grade) <= GRADES.indexOf('jailed')
  return shared && process.geteuid?.() === 0 ? sandbox.hostPid() : undefined
}
