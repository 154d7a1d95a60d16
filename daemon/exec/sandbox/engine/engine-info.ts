import type { Grade } from '../../../../protocol/job.ts'

/** A Docker engine (or one that speaks its API) as it was found. */
export interface EngineInfo {
  /** Where it was found: `config`, `DOCKER_HOST`, or a usual socket. For the operator's eyes only */
  readonly endpoint: string
  readonly found: 'config' | 'environment' | 'socket'
  /** e.g. "20.10.24" */
  readonly version: string
  readonly apiVersion: string
  /** e.g. "linux/amd64" */
  readonly platform: string
  /** Names of runtimes that map to a grade, strongest grade first */
  readonly runtimes: readonly { readonly name: string; readonly grade: Grade }[]
  /** Of those, the names of such as started nothing in time when last tried: taken only where no other will do */
  readonly hanging: readonly string[]
  readonly storage: {
    readonly driver: string
    /** Whether the driver bounds the root of a container by itself */
    readonly rootQuota: boolean
    /** Whether this daemon can give workspaces a file system of their own */
    readonly loopWorkspaces: boolean
  }
  readonly cgroup: 1 | 2
  /** On this host, so that its processes and cgroups can be looked at */
  readonly local: boolean
  /** Runs without root */
  readonly rootless: boolean
  /** Below the versions that known attacks are fixed in: said by `doctor`, not refused */
  readonly warnings: readonly string[]
}
