import { Libp2pNets, MemoryNets } from '../support/mesh-nets.ts'
import { meshNetSuite } from './mesh-net-suite.ts'

meshNetSuite('memory', () => new MemoryNets())
meshNetSuite('libp2p', () => new Libp2pNets())
