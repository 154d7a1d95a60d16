/** Carries member lists to and from peers. A peer that did not take what was sent is named, so that it is told again: while it stays connected no hello does. */
import * as messages from '../../protocol/membership/hello.ts'
import type { SignedList } from '../../protocol/membership/member-list.ts'
import type { SignedBody } from '../../protocol/signing/signed.ts'
import type { MeshNet } from '../net/mesh-net.ts'

export interface Lists {
  readonly list: SignedBody
  readonly chain: readonly SignedBody[]
}

/** A node that was put out is not waited for longer, milliseconds. */
const FAREWELL_MS = 250

export class ListCourier {
  readonly #net: MeshNet
  readonly #onMissed: (peer: string) => void

  constructor(net: MeshNet, onMissed: (peer: string) => void) {
    this.#net = net
    this.#onMissed = onMissed
  }

  /** What a peer holds. @throws MeshError E_UNREACHABLE, E_TIMEOUT, E_PROTOCOL */
  async fetch(peer: string, fromEpoch: number): Promise<Lists> {
    const answer = await this.#net.request(peer, messages.METHODS.list, messages.encodeListRequest(fromEpoch))
    return messages.decodeLists(answer)
  }

  /** Sends lists whole, oldest first. */
  push(peers: readonly string[], lists: readonly SignedBody[]): void {
    const list = lists.at(-1)
    if (list) this.#sendAll(peers, messages.METHODS.pushList, messages.encodeLists(list, lists.slice(0, -1)))
  }

  /** Tells a node that it was put out. Resolves when it has heard, or after a moment: it is cut off either way. */
  async farewell(peer: string, current: SignedList): Promise<void> {
    const body = messages.encodeLists(current.signed, [])
    await this.#net.request(peer, messages.METHODS.pushList, body, { timeoutMs: FAREWELL_MS }).catch(() => undefined)
  }

  /** Says which list is in force here. */
  notify(peers: readonly string[], current: SignedList): void {
    this.#sendAll(peers, messages.METHODS.noticeList, messages.encodeNotice(current.list.epoch, current.digest))
  }

  #sendAll(peers: readonly string[], method: string, body: Uint8Array): void {
    for (const peer of peers) this.#net.request(peer, method, body).catch(() => this.#onMissed(peer))
  }
}
