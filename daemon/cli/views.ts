/** Answers of the daemon as text for people. Pure. */
import type {
  CapabilityView,
  DoctorView,
  Explanation,
  MembersView,
  MeshEvent,
  PeerView,
  ReceiptCheck,
  StatusView,
  TaskEvent,
  TaskView,
} from '../../sdk/src/index.ts'
import { nameOf, type NodeNames } from './node-names.ts'
import { progressText } from './progress.ts'
import { pairs, table } from './table.ts'
import { safeLine, safeText } from './terminal.ts'
import { formatDuration, formatSize } from './units.ts'

type Width = number | undefined

const milliseconds = (value: number | undefined): string | undefined =>
  value === undefined ? undefined : formatDuration(value)

export function countOf(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`
}

export function statusText(status: StatusView): string {
  const { mesh, peers, tasks, journal } = status
  const executors = status.executors.map(
    (one) => `${one.kind} (${one.grade}) ${one.free}/${one.slots} free, ${one.queued} queued`,
  )
  return pairs([
    ['node', `${status.name}  ${status.id}`],
    [
      'version',
      `${status.version}, pid ${status.pid}, up ${formatDuration(status.uptimeSeconds * 1000)}, ${formatSize(status.memoryBytes)}`,
    ],
    ['health', status.health],
    ...(mesh.isMember ? [] : [['', 'this node was put out of the mesh: see manyhands doctor'] as const]),
    [
      'mesh',
      `${mesh.name}  ${mesh.id}, epoch ${mesh.epoch}, ${countOf(mesh.members, 'member')}, this one ${mesh.role}`,
    ],
    ['peers', `${peers.connected} connected of ${peers.known} known`],
    ['tasks', `${tasks.working} working, ${tasks.queued} queued, ${tasks.total} in all`],
    [
      'journal',
      journal.healthy ? `healthy, record ${journal.sequence}` : `NOT healthy: ${journal.reason ?? 'unknown'}`,
    ],
    ...executors.map((text) => ['executor', text] as const),
    ...addressRows(status),
  ])
}

/** Where peers reach the node, and where programs of this host do beside the unix socket. */
export function addressRows({ addresses, apiUrl }: StatusView): (readonly [string, string])[] {
  const rows = addresses.map((address): readonly [string, string] => ['address', address])
  return apiUrl === undefined ? rows : [...rows, ['api', apiUrl]]
}

export function peersText(peers: readonly PeerView[], width: Width): string {
  if (peers.length === 0) return 'No peers yet. Invite one with: manyhands invite'
  return table(
    [
      { title: 'NAME', of: (peer: PeerView) => peer.name },
      { title: 'STATE', of: (peer) => (peer.connected ? 'connected' : 'away') },
      {
        title: 'RTT',
        of: (peer) =>
          milliseconds(peer.rttMs) ??
          (peer.distanceMs === undefined ? undefined : `~${formatDuration(peer.distanceMs)}`),
        align: 'right',
      },
      { title: 'ROLE', of: (peer) => peer.role },
      {
        title: 'FREE',
        of: (peer) => peer.executors.map((one) => `${one.free}/${one.slots}`).join(' ') || undefined,
        align: 'right',
      },
      { title: 'CAPABILITIES', of: (peer) => peer.capabilities.join(' ') || undefined, room: 'first' },
      {
        title: 'SEEN',
        of: ({ seenSecondsAgo: seconds }) =>
          seconds === undefined ? undefined : seconds === 0 ? 'now' : `${formatDuration(seconds * 1000)} ago`,
        room: 'first',
      },
      { title: 'ID', of: (peer) => peer.id, room: 'whole' },
    ],
    peers,
    width,
  )
}

export function capabilitiesText(capabilities: readonly CapabilityView[], width: Width): string {
  const rows = capabilities.flatMap(({ label, nodes }) => nodes.map((node) => ({ label, ...node })))
  return table(
    [
      { title: 'CAPABILITY', of: (row: (typeof rows)[number]) => row.label },
      { title: 'NODE', of: (row) => row.name },
      { title: 'GRADE', of: (row) => row.grade },
      {
        title: 'FREE',
        of: (row) => (row.slots === undefined ? undefined : `${row.free ?? 0}/${row.slots}`),
        align: 'right',
      },
      { title: 'RTT', of: (row) => milliseconds(row.rttMs), align: 'right' },
      { title: 'ID', of: (row) => row.id, room: 'whole' },
    ],
    rows,
    width,
  )
}

export function doctorText(doctor: DoctorView): string {
  const marks = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' }
  return doctor.checks
    .map((check) => {
      const line = `${marks[check.level]}  ${safeLine(check.name)}: ${safeLine(check.found)}`
      return check.hint === undefined ? line : `${line}\n      hint: ${safeLine(check.hint)}`
    })
    .join('\n')
}

export function membersText(view: MembersView, width: Width): string {
  const rows = table(
    [
      { title: 'NAME', of: (member: MembersView['members'][number]) => member.name },
      { title: 'ROLE', of: (member) => member.role },
      { title: 'SINCE', of: (member) => `epoch ${member.sinceEpoch}` },
      { title: 'ID', of: (member) => member.id, room: 'whole' },
    ],
    view.members,
    width,
  )
  const revoked = view.revoked.map((one) => `revoked in epoch ${one.epoch}: ${safeLine(one.id)}`)
  return [`mesh ${safeLine(view.meshName)} (${safeLine(view.meshId)}), epoch ${view.epoch}`, rows, ...revoked].join(
    '\n',
  )
}

/** A map is on many nodes at once. */
function nodeOf({ lease, progress }: TaskView, names: NodeNames): string | undefined {
  if (progress === undefined) return lease && nameOf(names, lease.node)
  const [first, ...rest] = Object.keys(progress.byNode)
  return rest.length === 0 ? (first === undefined ? undefined : nameOf(names, first)) : `${rest.length + 1} nodes`
}

/** Of a map: the first giving of all its pieces, and how many were given again. */
function triesOf({ attempts, progress }: TaskView): number | string {
  if (progress === undefined) return attempts
  return progress.retried === 0 ? 1 : `1+${progress.retried}`
}

export function tasksText(tasks: readonly TaskView[], names: NodeNames, width: Width): string {
  if (tasks.length === 0) return 'No tasks.'
  return table(
    [
      { title: 'ID', of: (task: TaskView) => task.id, room: 'whole' },
      { title: 'KIND', of: (task) => task.kind },
      { title: 'STATE', of: (task) => task.state },
      { title: 'NAME', of: (task) => task.name },
      { title: 'NODE', of: (task) => nodeOf(task, names) },
      { title: 'TRIES', of: triesOf, align: 'right' },
      { title: 'CREATED', of: (task) => task.createdAt, room: 'first' },
      { title: 'NOTE', of: (task) => task.error?.message ?? task.note, room: 'first' },
    ],
    tasks,
    width,
  )
}

export function taskText(task: TaskView, names: NodeNames): string {
  const { usage, error, progress, lease } = task
  const used =
    usage &&
    `${formatDuration(usage.wallMs)} wall, ${formatDuration(usage.cpuMs)} CPU, ${formatSize(usage.memoryBytes)}, ${usage.calls} calls, ${usage.hostCalls} host calls`
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['task', task.id],
    ['kind', task.kind],
    ['state', task.state],
    ['name', task.name],
    ['program', task.program],
    ['node', lease && `${nameOf(names, lease.node)} (${lease.node}), epoch ${lease.epoch}`],
    ['attempts', String(task.attempts)],
    ['created', task.createdAt],
    ['ended', task.endedAt],
    ['progress', progress && progressText(progress, names)],
    ['used', used],
    ['note', task.note],
    ['took', task.commits?.input && `${task.commits.input.commit} of ${task.commits.input.artifact}`],
    [
      'gave',
      task.commits?.output &&
        `${task.commits.output.commit} to ${task.commits.output.ref} of ${task.commits.output.artifact}`,
    ],
    ['refused', task.commits?.refused],
    ['error', error && `${error.message} [${error.code}]`],
    ['output', task.output === undefined ? undefined : JSON.stringify(task.output)],
  ]
  return pairs(rows.filter((row): row is readonly [string, string] => row[1] !== undefined))
}

export function explanationText(explanation: Explanation, width: Width): string {
  return explanation.rounds
    .map((round) => {
      const candidates = table(
        [
          { title: 'NODE', of: (row: (typeof round.candidates)[number]) => row.name },
          { title: 'OUTCOME', of: (row) => row.outcome },
          { title: 'SCORE', of: (row) => milliseconds(row.score), align: 'right' },
          { title: 'RTT', of: (row) => milliseconds(row.rttMs), align: 'right' },
          { title: 'ETA', of: (row) => milliseconds(row.etaMs), align: 'right' },
          { title: 'QUEUED', of: (row) => row.queued, align: 'right' },
          { title: 'REASON', of: (row) => row.reason, room: 'first' },
        ],
        round.candidates,
        width,
      )
      return `lease ${round.epoch}:${round.note === '' ? '' : ` ${safeLine(round.note)}`}\n${candidates}`
    })
    .join('\n\n')
}

export function taskEventText(event: TaskEvent, names: NodeNames): string {
  switch (event.type) {
    case 'state':
      return [
        event.state,
        event.lease && `on ${safeLine(nameOf(names, event.lease.node))} epoch ${event.lease.epoch}`,
        event.note && safeLine(event.note),
      ]
        .filter(Boolean)
        .join('  ')
    case 'log':
      return `${safeLine(event.level)}${event.input === undefined ? '' : ` [${event.input}]`}: ${safeText(event.text)}`
    case 'progress':
      return progressText(event.progress, names)
    case 'end':
      return `ended: ${event.task.state}${event.task.error ? `, ${safeLine(event.task.error.message)} [${safeLine(event.task.error.code)}]` : ''}`
  }
}

export function meshEventText(event: MeshEvent): string {
  const { type, ...rest } = event
  const facts = Object.entries(rest).map(
    ([key, value]) => `${key}=${safeLine(typeof value === 'string' ? value : JSON.stringify(value))}`,
  )
  return `${type}  ${facts.join('  ')}`
}

type Commits = NonNullable<ReceiptCheck['commits']>

/** All facts of a few; a line each of many. */
export function receiptsText(checks: readonly ReceiptCheck[], width: Width): string {
  if (checks.length <= 3) return checks.map(receiptText).join('\n\n')
  const valid = checks.filter((check) => check.valid).length
  const rows = table(
    [
      { title: 'RECEIPT', of: (check: ReceiptCheck) => (check.valid ? 'valid' : 'NOT valid') },
      { title: 'TASK', of: (check) => check.task, room: 'whole' },
      { title: 'EPOCH', of: (check) => check.epoch, align: 'right' },
      { title: 'OUTCOME', of: (check) => check.outcome ?? check.reason ?? (check.commits && 'commits') },
      { title: 'NUMBER', of: (check) => check.sequence, align: 'right' },
      { title: 'NODE', of: (check) => check.node },
    ],
    checks,
    width,
  )
  return `${rows}\n${valid} of ${checks.length} valid`
}

function commitsText({ node, task, sequence, work }: ReceiptCheck, { input, output }: Commits): string {
  const nameOf = (read: Commits['input']): string => (read === undefined ? '-' : `${read.artifact}@${read.commit}`)
  return pairs([
    ['receipt', `valid, number ${sequence ?? '-'} of its node; of the commits that the task read and gave`],
    ['node', node ?? '-'],
    ['task', task ?? '-'],
    ['work', `receipt sha256:${work ?? '-'}`],
    ['input', nameOf(input)],
    ['output', output === undefined ? '-' : `${nameOf(output)} at ${output.ref}`],
  ])
}

function receiptText(check: ReceiptCheck): string {
  if (!check.valid) return `NOT valid: ${safeLine(check.reason ?? 'unknown')}`
  const { node, task, epoch, outcome, program, input, output, sequence, commits } = check
  if (commits !== undefined) return commitsText(check, commits)
  return pairs([
    ['receipt', `valid, number ${sequence ?? '-'} of its node`],
    ['node', node ?? '-'],
    ['task', `${task ?? '-'}, epoch ${epoch ?? '-'}`],
    ['outcome', outcome ?? '-'],
    ['program', `sha256:${program ?? '-'}`],
    ['input', `sha256:${input ?? '-'}`],
    ['output', output === undefined ? '-' : `sha256:${output}`],
  ])
}
