/**
 * A process that appends until it is killed or done, for tests that do things to it. What was answered goes to a file, line by line, which
 * survives kill -9: `ack <index> <sequence>` or `refused <index> <code>`. Each index is appended once; after a refusal the writer waits for
 * the journal to be well again and goes on with the next.
 *
 * Arguments: root folder, first index, number of appends, appends in flight, record number step at which to trim (0: never)
 */
import { openSync, writeSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { toMeshError } from '../../protocol/errors.ts'
import { openLevelJournal } from '../../daemon/journal/level-journal.ts'
import { indexRecord, place, WRITER_TYPES } from './journal-support.ts'

// whoever started it is gone, or wants it gone: a tracer in between passes no signal on
process.stdin.on('end', () => process.exit(3)).resume()

const [root = '', first = '0', count = '0', inFlight = '1', trimEvery = '0'] = process.argv.slice(2)
const answers = openSync(`${root}/answers`, 'a')
const answer = (line: string): number => writeSync(answers, `${line}\n`)

const journal = await openLevelJournal({ ...place(root), types: WRITER_TYPES })
writeSync(1, 'ready\n')

let next = Number(first)
const end = next + Number(count)
async function append(): Promise<void> {
  while (next < end) {
    const index = next++
    try {
      const sequence = await journal.append(indexRecord(index))
      answer(`ack ${index} ${sequence}`)
      if (Number(trimEvery) > 0 && sequence % Number(trimEvery) === 0) await journal.trim(sequence - 5).catch(() => {})
    } catch (error) {
      answer(`refused ${index} ${toMeshError(error).code}`)
      while (journal.health().state === 'failing') await pause(5)
    }
  }
}
await Promise.all(Array.from({ length: Number(inFlight) }, append))
await journal.close()
answer('closed')
process.exit(0)
