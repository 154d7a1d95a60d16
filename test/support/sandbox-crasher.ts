/**
 * A process that makes a sandbox with something running in it, keeps another ready, says so, and waits to be killed.
 * Arguments: the engine's socket, node id, folder, and `paused` for a sandbox that stands still by then, `copying` for one in the middle of a snapshot
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { SANDBOX_RECORDS } from '../../daemon/exec/sandbox/records.ts'
import { createSandboxExecutor } from '../../daemon/exec/sandbox/sandbox-executor.ts'
import { openLevelJournal } from '../../daemon/journal/level-journal.ts'
import { boxesIn, journalPlace, replaceCp, SPEC } from './sandbox-kit.ts'

process.stdin.on('end', () => process.exit(3)).resume()
const [socket = '', nodeId = '', folder = '', state = ''] = process.argv.slice(2)
const journal = await openLevelJournal({ ...journalPlace(folder), types: SANDBOX_RECORDS })
const executor = await createSandboxExecutor({
  ...{ nodeId, folder: boxesIn(folder), journal, engine: `unix://${socket}`, env: {}, home: '/nowhere' },
  warm: { each: 1, kinds: 1 },
})
const box = await executor.create(SPEC)
const guest = await box.guest()
await guest.files.write('/workspace/a', 'kept\n')
guest.exec({ argv: ['/bin/sh', '-c', 'sleep 600'], background: true, name: 'server' })
while ((await guest.processes()).length === 0);
await executor.warm(SPEC)
if (state === 'paused') await box.sleep('pause')
if (state === 'copying') {
  // The copy is as slow as it takes.
  const bin = join(folder, '.bin')
  replaceCp(bin, `echo $$ > ${bin}/pid.new; mv ${bin}/pid.new ${bin}/pid; exec sleep 600`)
  box.snapshot('never').catch(() => process.exit(4))
  while (!existsSync(join(bin, 'pid'))) await wait(10)
}
process.stdout.write(`${box.id}\n`)
