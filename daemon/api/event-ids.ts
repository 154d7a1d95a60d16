/**
 * Ids of events that are numbered anew in each run of the daemon: "<run>-<number>". A bare number from before a restart would name events of this run that its
 * client has never seen.
 */
import { randomBytes } from 'node:crypto'

export interface EventIds {
  of(number: number): string
  /** Number of the event named by a `Last-Event-ID`; 0, before the first, for one of another run or none */
  numberIn(lastEventId: string | undefined): number
}

export function eventIds(): EventIds {
  const run = randomBytes(6).toString('hex')
  return {
    of: (number) => `${run}-${number}`,
    numberIn(lastEventId) {
      const [seenIn, number = ''] = lastEventId?.split('-') ?? []
      return seenIn === run && /^\d{1,15}$/.test(number) ? Number(number) : 0
    },
  }
}
