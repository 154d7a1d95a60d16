/** Runs the host's tools for file systems. None of them outlives its time. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { MeshError } from '../../../../protocol/errors.ts'

const run = promisify(execFile)

/** For whatever does not depend on how much a disk holds, milliseconds */
export const TOOL_MS = 60_000

/** @param action what it is for, "copy a workspace" @throws MeshError E_ENGINE */
export async function diskTool(name: string, args: readonly string[], action: string, withinMs = TOOL_MS) {
  try {
    await run(name, [...args], { timeout: withinMs })
  } catch (error) {
    throw new MeshError('E_ENGINE', `Cannot ${action}: ${name} failed`, {
      cause: error,
      hint: 'See the log of the daemon; the disk may be full, or no loop device be left',
    })
  }
}
