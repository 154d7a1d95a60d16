/** The process that `durable-events.ts` kills: appends with 64 in flight for ever and tells, once a turn, the highest sequence it was told. */
import { writeSync } from 'node:fs'
import { openLevelJournal } from '../../daemon/journal/level-journal.ts'

const [folder = '', markFile = ''] = process.argv.slice(2)
const journal = await openLevelJournal({ folder, markFile, types: ['bench.event'] })
const body = new Uint8Array(256).fill(5)
let told = 0
let written = 0

function tell(): void {
  if (told > written) writeSync(1, `${told}\n`)
  written = told
}

await Promise.all(
  Array.from({ length: 64 }, async () => {
    for (;;) {
      const sequence = await journal.append({ type: 'bench.event', body })
      if (told === written) setImmediate(tell)
      told = Math.max(told, sequence)
    }
  }),
)
