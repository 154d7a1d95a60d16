/** JSON, a line each, over a stream. */
import type { Duplex } from 'node:stream'
import { z } from 'zod'

/** What is asked for, and the answer: the same id, and in `text` the program, the input or the output as JSON text. */
const Message = z.object({
  id: z.number(),
  op: z.enum(['run', 'load', 'call', 'done']),
  source: z.string().default(''),
  text: z.string().default(''),
  /** On the other node */
  away: z.boolean().default(false),
})
export type Message = z.input<typeof Message>

/** @returns what sends a message */
export function talk(
  stream: Duplex,
  onMessage: (message: z.output<typeof Message>) => void | Promise<void>,
): (message: Message) => void {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (part: string) => {
    const lines = (rest + part).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) void onMessage(Message.parse(JSON.parse(line)))
  })
  return (message) => void stream.write(`${JSON.stringify(message)}\n`)
}

/** @returns what asks whoever is at the other end; the answers come in any order. When that end goes, all that wait fail. */
export function asker(stream: Duplex): (message: Omit<Message, 'id'>) => Promise<string> {
  const waiting = new Map<number, PromiseWithResolvers<string>>()
  let last = 0
  const say = talk(stream, ({ id, text }) => {
    waiting.get(id)?.resolve(text)
    waiting.delete(id)
  })
  stream.once('close', () => {
    for (const { reject } of waiting.values()) reject(new Error('The other end is gone'))
  })
  return (message) => {
    const answer = Promise.withResolvers<string>()
    last += 1
    waiting.set(last, answer)
    say({ ...message, id: last })
    return answer.promise
  }
}
