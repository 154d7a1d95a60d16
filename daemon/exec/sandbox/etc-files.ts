/**
 * The files of `/etc` that an engine would otherwise make for each container on the host's own disk, where a guest with a writable root could fill it, and
 * from the host's name servers, which are none of a guest's business. These are the same for every sandbox and are shown read-only.
 */
import { chmod, mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ETC_FILES, SANDBOX_HOSTNAME } from './profile.ts'

const CONTENT: Readonly<Record<(typeof ETC_FILES)[number], string>> = {
  hosts: `127.0.0.1\tlocalhost ${SANDBOX_HOSTNAME}\n::1\tlocalhost ip6-localhost ip6-loopback\n`,
  hostname: `${SANDBOX_HOSTNAME}\n`,
  'resolv.conf': '# Names are resolved outside, by the way out of the sandbox\n',
}

/** Writes them into `folder`, each in one step, as running sandboxes look at them. @returns the folder */
export async function installEtcFiles(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const name of ETC_FILES) {
    const fresh = join(folder, `.${name}.${process.pid}`)
    await writeFile(fresh, CONTENT[name])
    // The guest's user reads it, whatever the daemon's umask.
    await chmod(fresh, 0o444)
    await rename(fresh, join(folder, name))
  }
  return folder
}
