/**
 * Entry of an isolate host: the process that holds isolated-vm and runs guests. It owns nothing worth stealing: no network, no files,
 * no keys, one socket (descriptor 3) to the daemon that started it. It ends when that socket does.
 * It keeps limits as far as it can, so that a guest can be ended without ending its neighbours; what counts is kept by the daemon from outside.
 */
import { Socket } from 'node:net'
import { type Frame, FrameReader, FrameWriter, FROM_HOST, TO_HOST } from './frame.ts'
import { GuestIsolate } from './guest-isolate.ts'
import { HostedJob, type HostedJobContext } from './hosted-job.ts'
import { decodeJob } from './job-header.ts'
import { WarmIsolates } from './warm-isolates.ts'

/** The descriptor of the socket. */
const SOCKET_FD = 3
/** The daemon is trusted; this only bounds what a mistake can do. */
const MAX_FRAME_BYTES = 256 << 20

const [warmCount, memoryBytes] = process.argv.slice(2).map(Number)
const epoch = Date.now() - performance.now()
const jobs = new Map<number, HostedJob>()
/** Jobs that got something in the chunk being read */
const touched = new Set<HostedJob>()

// asked whether a host can start here: everything has been loaded by now
if (process.argv.includes('--probe')) {
  new GuestIsolate(8 << 20).dispose()
  process.exit(0)
}

const socket = new Socket({ fd: SOCKET_FD, readable: true, writable: true })
const out = new FrameWriter((chunk) => socket.write(chunk))
const warm = new WarmIsolates(warmCount ?? 0, memoryBytes ?? 128 << 20, () => jobs.size === 0)
const context: HostedJobContext = {
  out,
  now: () => Math.floor(epoch + performance.now()),
  onEnded(job) {
    jobs.delete(job.id)
    warm.giveBack(job.guest)
  },
  isAlone: (job) => jobs.size === 1 && jobs.has(job.id),
}
const known = new Set<number>(Object.values(TO_HOST))
const reader = new FrameReader((type) => (known.has(type) ? MAX_FRAME_BYTES : -1), receive)

socket.on('data', (chunk: Buffer) => {
  reader.push(chunk)
  for (const job of touched) job.flush()
  touched.clear()
})
socket.on('error', leave)
socket.on('close', leave)
warm.fill()
out.send(FROM_HOST.hello, 0)

function receive(frame: Frame): void {
  if (frame.type === TO_HOST.load) return load(frame)
  if (frame.type === TO_HOST.ping) return pong(frame.ref)
  const job = jobs.get(frame.job)
  // it ended while this was on its way
  if (job === undefined) return
  if (frame.type === TO_HOST.end) return job.end()
  touched.add(job)
  if (frame.type === TO_HOST.call) job.request(frame.ref, frame.body.toString())
  else job.answer(frame.ref, frame.flag === 1, frame.body.toString())
}

function load(frame: Frame): void {
  const description = decodeJob(frame.body)
  const guest: GuestIsolate = warm.take(description.memoryBytes)
  const job = new HostedJob(frame.job, guest, description, frame.flag === 1, context)
  jobs.set(frame.job, job)
  void job.start()
}

function pong(sequence: number): void {
  const cpu = Object.fromEntries([...jobs.values()].map((job) => [job.id, job.cpuMs()]))
  out.send(FROM_HOST.pong, 0, sequence, 0, JSON.stringify(cpu))
}

/** A plain exit waits for threads that may run guests for ever. */
function leave(): void {
  process.kill(process.pid, 'SIGKILL')
  // the first process of a namespace is deaf to its own signals
  process.abort()
}
