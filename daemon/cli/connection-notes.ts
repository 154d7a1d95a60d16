/** What a command that follows events says beside them, once for each loss. */
import type { EventOptions } from '../../sdk/src/index.ts'
import type { Output } from './io.ts'

export function connectionNotes(output: Output): Required<Pick<EventOptions, 'onLost' | 'onReconnect'>> {
  return {
    onLost: () => output.note('the connection to the daemon was lost; trying again'),
    onReconnect: () => output.note('connected again'),
  }
}
