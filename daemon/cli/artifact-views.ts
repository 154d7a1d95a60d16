/** Answers about artifacts as text for people. Pure. */
import type {
  ArtifactView,
  CommitView,
  DiffView,
  GitTokenView,
  ProposalView,
  RecordView,
  RefView,
  ReplicationView,
  TreeEntry,
  UndoView,
  VerifyView,
} from '../../sdk/src/index.ts'
import { pairs, table } from './table.ts'
import { safeLine, safeText } from './terminal.ts'
import { formatDuration, formatSize } from './units.ts'
import { countOf } from './views.ts'

type Width = number | undefined
const short = (oid: string): string => oid.slice(0, 10)

export function artifactsText(artifacts: readonly ArtifactView[], width: Width): string {
  if (artifacts.length === 0) return 'No artifacts.'
  return table(
    [
      { title: 'NAME', of: (one: ArtifactView) => one.name },
      { title: 'ID', of: (one) => one.id, room: 'whole' },
      { title: 'VISIBLE TO', of: (one) => (one.visibility === 'mesh' ? 'mesh' : 'readers') },
      { title: 'RECORD', of: (one) => one.sequence, align: 'right' },
      { title: 'SIZE', of: (one) => formatSize(one.bytes), align: 'right' },
      { title: 'DESCRIPTION', of: (one) => one.description, room: 'first' },
    ],
    artifacts,
    width,
  )
}

export function artifactText(view: ArtifactView, refs: readonly RefView[]): string {
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['artifact', [view.name, view.id].filter(Boolean).join('  ')],
    ['about', view.description],
    ['owner', view.owner],
    ['visible', view.visibility === 'mesh' ? 'to every member' : `to the owner and ${view.readers.length} readers`],
    ['git', view.gitUrl ?? `${view.gitPath} (no loopback listener: see api.port)`],
    ['head', view.head === undefined ? 'empty' : `${view.defaultBranch} ${view.head}`],
    ['record', `${view.sequence} of the owner`],
    ['size', formatSize(view.bytes)],
    [
      'replicas',
      `${view.replicas.min} to ${view.replicas.max}${view.replicas.mustInclude.map((node) => `, on ${node}`).join('')}`,
    ],
    [
      'review',
      view.review.checks.length === 0 && view.review.approvals === 0
        ? undefined
        : `${countOf(view.review.approvals, 'approval')}${view.review.checks.map((name) => `, check ${name}`).join('')}`,
    ],
    ['delegates', view.delegates.join(' ') || undefined],
    ['threshold', view.threshold === undefined ? undefined : `${view.threshold} of owner and delegates must agree`],
    ['FROZEN', view.frozen.join(' ') || undefined],
    ...refs.map(
      (ref) => ['ref', `${short(ref.oid)}  ${ref.ref}${ref.writer === undefined ? '' : `  of ${ref.writer}`}`] as const,
    ),
  ]
  return pairs(rows.filter((row): row is readonly [string, string] => row[1] !== undefined && row[1] !== ''))
}

export function logText(commits: readonly CommitView[]): string {
  if (commits.length === 0) return 'No commits.'
  return commits
    .map(({ oid, message, author }) => {
      const [title = '', ...rest] = message.trimEnd().split('\n')
      const body = rest.join('\n').trim()
      const head = `${short(oid)}  ${safeLine(author.at)}  ${safeLine(author.name)}  ${safeLine(title)}`
      return body === '' ? head : `${head}\n${indent(safeText(body))}`
    })
    .join('\n')
}

export function treeText(entries: readonly TreeEntry[]): string {
  const marks = { file: '', folder: '/', link: '@', module: '' }
  return entries.map((entry) => safeLine(`${entry.path}${marks[entry.type]}`)).join('\n')
}

export function diffText(view: DiffView): string {
  const marks = { added: 'A', removed: 'D', changed: 'M' }
  const parts = view.entries.map((entry) =>
    entry.patch === undefined ? `${marks[entry.change]}  ${safeLine(entry.path)}` : safeText(entry.patch.trimEnd()),
  )
  if (parts.length === 0) return 'No difference.'
  return view.truncated ? `${parts.join('\n')}\n(more changed than is listed)` : parts.join('\n')
}

function stateOf({ current, lacks = 0 }: ReplicationView['holders'][number]): string {
  if (lacks > 0) return `lacks ${lacks} large ${lacks === 1 ? 'file' : 'files'}`
  return current ? 'current' : 'behind'
}

export function replicationText(view: ReplicationView, width: Width): string {
  const { contract } = view
  const holders = table(
    [
      { title: 'NODE', of: (one: ReplicationView['holders'][number]) => one.name ?? one.node },
      { title: 'RECORD', of: (one) => one.sequence, align: 'right' },
      { title: 'STATE', of: stateOf },
      { title: 'CONNECTED', of: (one) => (one.connected ? 'yes' : 'no') },
      { title: 'RTT', of: (one) => (one.rttMs === undefined ? undefined : formatDuration(one.rttMs)), align: 'right' },
      { title: 'SIGNED', of: (one) => one.at },
    ],
    view.holders,
    width,
  )
  const lines = [`record ${view.sequence}, ${contract.min} to ${contract.max} holders wanted: ${view.state}`, holders]
  return [...lines, ...view.missing.map((node) => `missing on ${safeLine(node)}`)].join('\n')
}

export function verifyText(view: VerifyView, width: Width): string {
  const rows = table(
    [
      { title: 'WRITER', of: (one: VerifyView['writers'][number]) => one.writer, room: 'whole' },
      { title: 'RECORDS', of: (one) => one.records, align: 'right' },
      { title: 'NEWEST', of: (one) => one.sequence, align: 'right' },
      { title: 'ROLE', of: (one) => (one.writer === view.owner ? 'owner' : 'writer') },
    ],
    view.writers,
    width,
  )
  if (view.valid) return `${rows}\nvalid: every record is signed, follows the one before, and leads to the refs`
  return `${rows}\nNOT valid:\n${view.faults.map((fault) => `  ${safeLine(fault)}`).join('\n')}`
}

export function auditText(records: readonly RecordView[]): string {
  if (records.length === 0) return 'No records.'
  return records
    .map((record) => {
      const { subject, agent, task, grant, receipt, reason } = record.by
      const who = [
        subject,
        agent && `agent ${agent}`,
        task && `task ${task}`,
        grant && `grant ${grant}`,
        receipt && `receipt ${short(receipt)}`,
        reason,
      ].filter((part) => part !== undefined && part !== '')
      const head = `${record.sequence}  ${safeLine(record.at)}  by ${safeLine(who.join(', ') || 'the node')}`
      const moves = record.moves.map(
        (move) =>
          `    ${safeLine(move.ref)}  ${move.old === null ? 'nothing' : short(move.old)} -> ${move.new === null ? 'nothing' : short(move.new)}`,
      )
      return [head, ...moves].join('\n')
    })
    .join('\n')
}

export function gitTokensText(tokens: readonly GitTokenView[], width: Width): string {
  if (tokens.length === 0) return 'No tokens.'
  return table(
    [
      { title: 'ID', of: (one: GitTokenView) => one.id, room: 'whole' },
      { title: 'NAME', of: (one) => one.name },
      { title: 'ACCESS', of: (one) => one.access },
      { title: 'EXPIRES', of: (one) => one.expiresAt ?? 'never', room: 'first' },
      { title: 'CREATED', of: (one) => one.createdAt, room: 'first' },
    ],
    tokens,
    width,
  )
}

export function proposalsText(proposals: readonly ProposalView[], width: Width): string {
  if (proposals.length === 0) return 'No proposals.'
  return table(
    [
      { title: 'ID', of: (one: ProposalView) => one.id, room: 'whole' },
      { title: 'STATE', of: (one) => one.state },
      { title: 'FROM', of: (one) => one.from },
      { title: 'INTO', of: (one) => one.into },
      {
        title: 'LACKING',
        of: (one) => (one.state === 'open' ? one.lacking.join('; ') || 'nothing' : undefined),
        room: 'first',
      },
      { title: 'TITLE', of: (one) => one.title, room: 'first' },
    ],
    proposals,
    width,
  )
}

export function proposalText(view: ProposalView): string {
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['proposal', `${view.id}  ${view.title}`],
    ['state', view.merge === undefined ? view.state : `${view.state} as ${short(view.merge)}`],
    ['merge', `${view.from} (${short(view.head)}) into ${view.into}`],
    ['author', actorText(view.author)],
    ...view.checks.map(
      (check) =>
        ['check', `${check.name}: ${check.result}${check.text === undefined ? '' : ` (${check.text})`}`] as const,
    ),
    ...view.approvals.map((actor) => ['approved', actorText(actor)] as const),
    ...(view.state === 'open' ? view.lacking.map((one) => ['lacking', one] as const) : []),
  ]
  const body = view.text === undefined ? [] : ['', safeText(view.text)]
  const comments = view.comments.flatMap((one) => [
    '',
    `${safeLine(actorText(one.by))}, ${safeLine(one.at)}:`,
    indent(safeText(one.text)),
  ])
  return [
    pairs(rows.filter((row): row is readonly [string, string] => row[1] !== undefined)),
    ...body,
    ...comments,
  ].join('\n')
}

function actorText(actor: ProposalView['author']): string {
  const of = [actor.agent && `agent ${actor.agent}`, actor.task && `task ${actor.task}`].filter(Boolean)
  return `${actor.subject} at ${actor.node.slice(-8)}${of.length === 0 ? '' : ` (${of.join(', ')})`}`
}

export function undoText(view: UndoView, dryRun: boolean): string {
  if (view.artifacts.length === 0) return 'This task changed no artifact of this node.'
  const lines = view.artifacts.map((one) => {
    const where = `${safeLine(one.name ?? one.artifact)} ${safeLine(one.ref)}: ${countOf(one.commits.length, 'commit')}`
    if (one.refused !== undefined) return `${where}, REFUSED: ${safeLine(one.refused)}`
    return one.commit === undefined ? where : `${where}, taken back by ${short(one.commit)}`
  })
  if (dryRun) return lines.join('\n')
  return [...lines, view.undone ? 'undone' : 'nothing was undone'].join('\n')
}

function indent(text: string): string {
  return text
    .split('\n')
    .map((line) => `    ${line}`)
    .join('\n')
}
