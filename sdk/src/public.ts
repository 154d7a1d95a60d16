// Its types name Symbol.asyncDispose, which the consumer's own lib need not have
/// <reference lib="esnext.disposable" preserve="true" />
/** What both entries of the package offer. */
export type * from '../../protocol/api.ts'
export type { Artifact, HistoryOptions, RevisionOptions, TreeOptions } from './artifact.ts'
export type { GitTokens, Triggers } from './artifact-parts.ts'
export type { ArtifactPageOptions, Artifacts } from './artifacts.ts'
export type { LogEvent, OnLog } from './channel-task.ts'
export { type ErrorCode, type JobFailure, ManyhandsError, type ManyhandsErrorOptions } from './errors.ts'
export type { Egress, Policy, Secrets, Services } from './egress.ts'
export type { EventOptions } from './event-stream.ts'
export type { HostFunction, HostFunctions } from './host-functions.ts'
export type { ImageOptions, Images } from './images.ts'
export type { MapItem, MapOptions, MapRun } from './map.ts'
export type { Inputs } from './map-parts.ts'
export type { CallOptions } from './call-options.ts'
export type { Mesh } from './mesh.ts'
export type { OpenPort } from './open-port.ts'
export type { LoadedProgram, Program, TaskOptions } from './program.ts'
export type { Proposal, ProposalPageOptions, Proposals } from './proposals.ts'
export type { CodeOptions, CodeOutcome, PortWaitOptions, Sandbox, Sandboxes, SandboxOptions } from './sandbox.ts'
export type { FileOptions, ReadOptions, SandboxFiles, WriteOptions } from './sandbox-files.ts'
export {
  type BackgroundProcess,
  type ExecOptions,
  type ExecResult,
  exitCodeOf,
  type LogOptions,
  type OutputPiece,
  type ProcessOptions,
  type SandboxProcess,
  type SpawnOptions,
} from './sandbox-process.ts'
export type { Session, SessionOptions } from './session.ts'
export {
  outputOf,
  type RunOptions,
  type TaskPageOptions,
  type Tasks,
  type UndoOptions,
  type WaitOptions,
} from './tasks.ts'
