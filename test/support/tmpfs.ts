/** A small file system of its own for a test that fills a disk. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Why this host cannot mount one; undefined where it can. Tests say it and skip. */
export function tmpfsProblem(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may mount a small file system'
  const folder = mkdtempSync(join(tmpdir(), 'manyhands-mount-'))
  try {
    mountTmpfs(folder, 'size=1m')()
    return undefined
  } catch {
    return 'mounting is not allowed here'
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Mounts over an existing folder. @param options as mount(8) takes them, "size=16m" @returns unmounts; also with files still open */
export function mountTmpfs(folder: string, options: string): () => void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `${options},mode=0700`, 'tmpfs', folder], { stdio: 'pipe' })
  return () => {
    execFileSync('umount', ['-l', folder])
  }
}
