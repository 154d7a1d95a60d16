/** TypeScript SDK of manyhands for Node 20 and newer. */
export * from './public.ts'
export { type ConnectOptions, connect } from './node/connect.ts'
export { type LoadOptions, loadProgram } from './node/load-program.ts'
export { verifyArtifactClone } from './node/verify-clone.ts'
export { verifyReceipt } from './node/verify-receipt.ts'
