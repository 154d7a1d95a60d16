import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { FROM_HOST, FrameReader, FrameWriter } from './frame.ts'
import { GuestIsolate } from './guest-isolate.ts'
import { HostedJob } from './hosted-job.ts'
import type { HostJob } from './job-header.ts'

const open: GuestIsolate[] = []
afterEach(() => {
  for (const guest of open.splice(0)) guest.dispose()
})

/** A job in this process, and the types of the frames it sends. */
function hosted(source: string, session: boolean, job: Partial<HostJob> = {}) {
  const frames: { type: number; text: string }[] = []
  const reader = new FrameReader(
    () => 1 << 20,
    ({ type, body }) => frames.push({ type, text: body.toString() }),
  )
  const guest = new GuestIsolate(32 << 20)
  open.push(guest)
  const ended = Promise.withResolvers<void>()
  const description: HostJob = {
    program: { main: 'main.js', modules: [{ name: 'main.js', type: 'js', source }] },
    hostFunctions: [],
    memoryBytes: 32 << 20,
    outputBytes: 1000,
    logBytes: 1000,
    hostCalls: 10,
    hostCallBytes: 1000,
    input: 'null',
    ...job,
  }
  const out = new FrameWriter((chunk) => reader.push(chunk))
  const running = new HostedJob(1, guest, description, session, {
    out,
    now: () => Date.now(),
    onEnded: () => ended.resolve(),
    isAlone: () => true,
  })
  return { running, guest, frames, ended: ended.promise, flush: () => out.flush() }
}

test('a session that is ended while it loads says nothing after its end', async () => {
  const { running, frames, flush } = hosted('export default () => 1', true)
  const started = running.start()
  running.end()
  await started
  flush()
  expect(frames.map(({ type }) => type)).toEqual([FROM_HOST.ended])
})

test('lines without text use up the log limit too', async () => {
  const { running, frames, ended, flush } = hosted('export default () => { for (;;) console.log("") }', false)
  void running.start()
  await ended
  flush()
  expect(frames.at(-1)?.type).toBe(FROM_HOST.ended)
  expect(frames.at(-1)?.text).toContain('E_LOG_BUDGET')
  expect(frames.filter(({ type }) => type === FROM_HOST.log).length).toBe(1000)
})

test('an error of the program that sounds like the end of its isolate is an error of the program', async () => {
  const source = `export default async () => {
    Promise.reject(new Error('Isolate 7 is not in the table'))
    await new Promise((resolve) => setTimeout(resolve, 20))
    return 'fine'
  }`
  const { running, frames, ended, flush } = hosted(source, false)
  void running.start()
  await ended
  flush()
  expect(frames.find(({ type }) => type === FROM_HOST.reply)).toMatchObject({ text: '"fine"' })
  expect(frames.find(({ type }) => type === FROM_HOST.log)?.text).toMatch(/^Uncaught \(in promise\) Error: Isolate 7/)
})

test('an entry that ends while the state of the loading is on its way is not waited for', async () => {
  const source = 'await new Promise((resolve) => setTimeout(resolve, 5))\nexport default () => 1'
  const { running, guest, frames, flush } = hosted(source, true)
  const { enter } = guest
  // Slower by far than the program waits: the timer's entry, its last, ends before the answer is there
  const apply: typeof enter.apply = async (receiver, args, ...rest) => {
    const answer = await enter.apply(receiver, args, ...rest)
    if (args?.[1] === 'main') await sleep(50)
    return answer
  }
  Object.defineProperty(guest, 'enter', { value: { apply, applySync: enter.applySync.bind(enter) } })
  await running.start()
  flush()
  expect(frames.map(({ type }) => type)).toEqual([FROM_HOST.loaded])
})
