import type { ConnectionGater, PeerId } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import { type AddressPolicy, refusal } from './address-policy.ts'
import { dialTarget } from './addresses.ts'
import type { Gate } from './mesh-net.ts'

/**
 * The mesh's gate at libp2p's hooks. Inbound it is asked as soon as noise has proven who it is, before the muxer and any protocol; outbound also before
 * dialing. Relays are off.
 */
export function connectionGater(gate: Gate, policy: AddressPolicy): ConnectionGater {
  const denied = (peer: PeerId): boolean => !gate.admits(peer.toString())
  const dialable = (address: Multiaddr): boolean => {
    const target = dialTarget(address)
    return target !== undefined && refusal(target, policy) === undefined
  }
  return {
    denyDialPeer: denied,
    denyDialMultiaddr: (address) => !dialable(address),
    denyOutboundConnection: denied,
    denyInboundEncryptedConnection: denied,
    denyOutboundEncryptedConnection: denied,
    denyInboundRelayReservation: () => true,
    denyInboundRelayedConnection: () => true,
    denyOutboundRelayedConnection: () => true,
    // the address book keeps nothing that would not be dialed
    filterMultiaddrForPeer: (_peer, address) => dialable(address),
  }
}
