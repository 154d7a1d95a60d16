/** The local API's part about the work on artifacts: who does it, reviews, notes, undo, triggers, artifacts of tasks, events. Types only; see `protocol/api-artifacts.ts`. */

/** Who moved a ref: told by whoever asked for it, except `subject`, which is the token's name. */
export interface AttributionInput {
  readonly agent?: string
  readonly task?: string
  readonly reason?: string
}

export interface Attribution extends AttributionInput {
  /** "local" or the name of the token */
  readonly subject?: string
  /** Id of the grant it was done by */
  readonly grant?: string
  /** sha256 of the receipt of the work that led to it, hex */
  readonly receipt?: string
}

export type ProposalState = 'open' | 'merged' | 'closed'

/** Who did something in a review: a node signed it, for a subject of that node. */
export interface Actor {
  readonly node: string
  readonly subject: string
  readonly agent?: string
  readonly task?: string
}

export interface ProposalView {
  readonly artifact: string
  readonly id: string
  readonly title: string
  readonly text?: string
  readonly from: string
  readonly into: string
  /** The proposed commit: approvals and checks count for this one alone */
  readonly head: string
  readonly state: ProposalState
  readonly author: Actor
  readonly comments: readonly { readonly by: Actor; readonly text: string; readonly at: string }[]
  /** Newest result of each check, for `head` */
  readonly checks: readonly {
    readonly name: string
    readonly result: 'pass' | 'fail'
    readonly text?: string
    readonly by: Actor
  }[]
  /** Of `head`, each actor once */
  readonly approvals: readonly Actor[]
  /** What keeps it from being merged; empty when nothing does */
  readonly lacking: readonly string[]
  /** Set when merged */
  readonly merge?: string
  /** Display only */
  readonly createdAt: string
}

export interface ProposalCreate {
  readonly from: string
  /** @default the default branch */
  readonly into?: string
  /** @default the first line of the proposed commit's message */
  readonly title?: string
  readonly text?: string
  readonly by?: AttributionInput
}

export interface ProposalAct {
  readonly text?: string
  readonly by?: AttributionInput
}

export interface ProposalCheck extends ProposalAct {
  /** 1 to 64 of a-z 0-9 . _ - */
  readonly name: string
  readonly result: 'pass' | 'fail'
}

export interface NoteRequest {
  /** Branch, tag or commit the note is about. @default the default branch */
  readonly rev?: string
  /** Which of the notes: refs/notes/<kind>, e.g. "prompts". @default "commits" */
  readonly kind?: string
  readonly text: string
  readonly by?: AttributionInput
}

export interface NoteView {
  readonly commit: string
  readonly kind: string
  readonly text: string
}

export interface UndoRequest {
  /** Say what would be done, and do nothing. @default false */
  readonly dryRun?: boolean
}

export interface UndoView {
  readonly task: string
  /** All or nothing: false when one of them was refused */
  readonly undone: boolean
  readonly artifacts: readonly {
    readonly artifact: string
    readonly name?: string
    readonly ref: string
    /** Commits of the task on this ref, newest first */
    readonly commits: readonly string[]
    /** The commit that takes them back */
    readonly commit?: string
    /** Why it cannot be undone */
    readonly refused?: string
  }[]
}

/** What starts a task: a branch was pushed, a proposal was made, a proposal was merged. */
export type TriggerOn = 'push' | 'proposal' | 'merge'

/**
 * Starts a task when something happens to an artifact. The program gets {artifact, name, on} and, of a push, {ref, old, new}; of a proposal
 * {proposal, from, into, title, head}, and {commit} when it was merged.
 */
export interface TriggerRequest {
  /** 1 to 64 of a-z 0-9 . _ - */
  readonly name: string
  readonly on: TriggerOn
  /** The branch that is pushed, or merged into: a name, or a prefix ending in "*". @default "*" */
  readonly branch?: string
  readonly program: {
    readonly source?: string
    readonly filename?: string
    readonly modules?: Readonly<Record<string, string>>
    readonly main?: string
  }
  /** At most so many starts in a minute; further pushes are dropped and counted. @default 10 */
  readonly perMinute?: number
  /** Give the program these files of the pushed, proposed or merged commit as input: see RunRequest.artifacts. @default none */
  readonly paths?: readonly string[]
}

export interface TriggerView {
  readonly artifact: string
  readonly name: string
  readonly on: TriggerOn
  readonly branch: string
  readonly perMinute: number
  readonly paths?: readonly string[]
  readonly started: number
  readonly dropped: number
  readonly lastTask?: string
  readonly createdAt: string
}

/** Files of a commit as the task's input, and files of its output as a commit. */
export interface TaskArtifacts {
  readonly input?: {
    readonly artifact: string
    /** Branch, tag or commit. @default the default branch */
    readonly rev?: string
    /** Files, or folders with everything in them. @default all */
    readonly paths?: readonly string[]
  }
  readonly output?: {
    readonly artifact: string
    /** @default the default branch */
    readonly branch?: string
    readonly message?: string
  }
}

/** What a task read and wrote. */
export interface TaskCommits {
  readonly input?: { readonly artifact: string; readonly commit: string }
  readonly output?: { readonly artifact: string; readonly commit: string; readonly ref: string }
  /** Why the output was not committed, though the program completed */
  readonly refused?: string
}

export type ArtifactEvent =
  | { readonly type: 'artifact-created'; readonly artifact: string; readonly name?: string }
  | { readonly type: 'artifact-removed'; readonly artifact: string }
  | { readonly type: 'artifact-forked'; readonly artifact: string; readonly from: string }
  | {
      readonly type: 'artifact-pushed'
      readonly artifact: string
      readonly name?: string
      readonly ref: string
      readonly old: string | null
      readonly new: string | null
      readonly writer: string
      readonly sequence: number
      readonly by: Attribution
    }
  /** Another node says that it holds what this one has */
  | { readonly type: 'artifact-held'; readonly artifact: string; readonly node: string }
  /** Records of others came from that node */
  | { readonly type: 'artifact-fetched'; readonly artifact: string; readonly node: string; readonly records: number }
  | { readonly type: 'artifact-frozen'; readonly artifact: string; readonly writer: string }
  | {
      readonly type: 'proposal'
      readonly artifact: string
      readonly proposal: string
      readonly what: 'create' | 'comment' | 'check' | 'approve' | 'merge' | 'close'
    }
  | {
      readonly type: 'trigger'
      readonly artifact: string
      readonly trigger: string
      readonly task?: string
      readonly refused?: string
    }
