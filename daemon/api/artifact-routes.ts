/** The rows of the route table that concern artifacts. */
import type { ArtifactRoutes } from '../../protocol/api.ts'
import * as reply from './artifact-replies.ts'
import * as take from './artifact-requests.ts'
import type { FindArtifacts } from './artifact-services.ts'
import { nothing } from './request-schemas.ts'
import type { RouteRow } from './route.ts'

/** Whatever is not the content of files */
const SMALL_BODY_BYTES = 1 << 20

type ArtifactTable = { readonly [R in keyof ArtifactRoutes]: RouteRow<R> }

export function artifactRoutes(artifacts: FindArtifacts): ArtifactTable {
  return {
    'GET /v0/artifacts': {
      access: 'read',
      summary: 'Artifacts of this node by id, in pages',
      query: take.artifactsQuery,
      reply: reply.artifactsReply,
      handle: async ({ query }) => (await artifacts()).list(query),
    },
    'POST /v0/artifacts': {
      isKeyed: true,
      access: 'run',
      summary: 'Makes an empty artifact',
      body: take.artifactCreate,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.artifactView,
      handle: async ({ body, caller }) => (await artifacts()).create(body, caller.subject),
    },
    'POST /v0/artifacts/import': {
      access: 'run',
      summary: 'Makes an artifact of a repository elsewhere',
      body: take.importRequest,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.artifactView,
      handle: async ({ body, caller, signal }) => (await artifacts()).import(body, caller.subject, signal),
    },
    'GET /v0/artifacts/:id': {
      access: 'read',
      summary: 'One artifact',
      reply: reply.artifactView,
      handle: async ({ params }) => (await artifacts()).get(params.id),
    },
    'POST /v0/artifacts/:id/settings': {
      access: 'admin',
      summary: 'Changes what the owner decides',
      body: take.artifactPatch,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.artifactView,
      handle: async ({ params, body, caller }) => (await artifacts()).update(params.id, body, caller.subject),
    },
    'POST /v0/artifacts/:id/remove': {
      access: 'admin',
      summary: 'Removes it from this node',
      body: nothing,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.removedReply,
      handle: async ({ params, caller }) => {
        await (await artifacts()).remove(params.id, caller.subject)
        return { removed: true }
      },
    },
    'POST /v0/artifacts/:id/collect': {
      access: 'admin',
      summary: 'Packs its repository and drops what nothing reaches',
      body: take.collectRequest,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.collectResult,
      handle: async ({ params, body, signal }) => (await artifacts()).collect(params.id, body, signal),
    },
    'POST /v0/artifacts/:id/fork': {
      isKeyed: true,
      access: 'run',
      summary: 'Makes an artifact of its own from this one',
      body: take.forkRequest,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.artifactView,
      handle: async ({ params, body, caller }) => (await artifacts()).fork(params.id, body, caller.subject),
    },
    'POST /v0/artifacts/:id/fetch': {
      access: 'run',
      summary: 'Fetches what the nearest holder has',
      body: nothing,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.artifactView,
      handle: async ({ params, signal }) => (await artifacts()).fetch(params.id, signal),
    },
    'GET /v0/artifacts/:id/refs': {
      access: 'read',
      summary: 'Its refs, those of other writers included',
      query: take.pageQuery,
      reply: reply.refsReply,
      handle: async ({ params, query }) => (await artifacts()).refs(params.id, query),
    },
    'POST /v0/artifacts/:id/commits': {
      isKeyed: true,
      access: 'run',
      summary: 'Commits files to a branch',
      body: take.commitRequest,
      reply: reply.commitResult,
      handle: async ({ params, body, caller }) => (await artifacts()).commit(params.id, body, caller.subject),
    },
    'GET /v0/artifacts/:id/commits': {
      access: 'read',
      summary: 'Commits, newest first, in pages',
      query: take.logQuery,
      reply: reply.logPage,
      handle: async ({ params, query }) => (await artifacts()).log(params.id, query),
    },
    'GET /v0/artifacts/:id/file': {
      access: 'read',
      summary: 'One file of a commit',
      query: take.fileQuery,
      reply: reply.fileView,
      handle: async ({ params, query }) => (await artifacts()).file(params.id, query),
    },
    'GET /v0/artifacts/:id/tree': {
      access: 'read',
      summary: 'What is in a folder of a commit',
      query: take.treeQuery,
      reply: reply.treePage,
      handle: async ({ params, query }) => (await artifacts()).tree(params.id, query),
    },
    'GET /v0/artifacts/:id/diff': {
      access: 'read',
      summary: 'What changed between two commits',
      query: take.diffQuery,
      reply: reply.diffView,
      handle: async ({ params, query }) => (await artifacts()).diff(params.id, query),
    },
    'POST /v0/artifacts/:id/merge': {
      isKeyed: true,
      access: 'run',
      summary: 'Merges; conflicts are an answer and change nothing',
      body: take.mergeRequest,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.mergeResult,
      handle: async ({ params, body, caller }) => (await artifacts()).merge(params.id, body, caller.subject),
    },
    'GET /v0/artifacts/:id/notes': {
      access: 'read',
      summary: 'The note of a commit',
      query: take.noteQuery,
      reply: reply.noteView,
      handle: async ({ params, query }) => (await artifacts()).note(params.id, query),
    },
    'POST /v0/artifacts/:id/notes': {
      isKeyed: true,
      access: 'run',
      summary: 'Sets the note of a commit',
      body: take.noteRequest,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.commitResult,
      handle: async ({ params, body, caller }) => (await artifacts()).addNote(params.id, body, caller.subject),
    },
    'GET /v0/artifacts/:id/tokens': {
      access: 'admin',
      summary: 'Its Git tokens, without their secrets',
      reply: reply.gitTokensReply,
      handle: async ({ params }) => ({ tokens: await (await artifacts()).gitTokens(params.id) }),
    },
    'POST /v0/artifacts/:id/tokens': {
      access: 'run',
      summary: 'Makes a Git token for it; it is shown this once',
      body: take.gitTokenRequest,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.gitTokenReply,
      handle: async ({ params, body }) => (await artifacts()).createGitToken(params.id, body),
    },
    'POST /v0/artifacts/:id/tokens/:token/revoke': {
      access: 'run',
      summary: 'Makes a Git token useless',
      body: nothing,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.gitTokensReply,
      handle: async ({ params }) => ({ tokens: await (await artifacts()).revokeGitToken(params.id, params.token) }),
    },
    'GET /v0/artifacts/:id/replicas': {
      access: 'read',
      summary: 'Who holds it, how far, signed',
      reply: reply.replicationView,
      handle: async ({ params }) => (await artifacts()).replication(params.id),
    },
    'POST /v0/artifacts/:id/replicas': {
      access: 'run',
      summary: 'Sets how many nodes shall hold it',
      body: take.replicaContract,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.replicationView,
      handle: async ({ params, body, caller }) => (await artifacts()).replicate(params.id, body, caller.subject),
    },
    'GET /v0/artifacts/:id/verify': {
      access: 'read',
      summary: 'Checks its whole chain of records',
      reply: reply.verifyView,
      handle: async ({ params, signal }) => (await artifacts()).verify(params.id, signal),
    },
    'GET /v0/artifacts/:id/audit': {
      access: 'read',
      summary: 'Who moved its refs, newest first, in pages',
      query: take.auditQuery,
      reply: reply.auditPage,
      handle: async ({ params, query }) => (await artifacts()).audit(params.id, query),
    },
    'GET /v0/artifacts/:id/proposals': {
      access: 'read',
      summary: 'Its proposals, newest first',
      query: take.proposalsQuery,
      reply: reply.proposalsReply,
      handle: async ({ params, query }) => (await artifacts()).proposals(params.id, query),
    },
    'POST /v0/artifacts/:id/proposals': {
      isKeyed: true,
      access: 'run',
      summary: 'Proposes to merge one branch into another',
      body: take.proposalCreate,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.proposalView,
      handle: async ({ params, body, caller }) => (await artifacts()).propose(params.id, body, caller.subject),
    },
    'GET /v0/artifacts/:id/proposals/:proposal': {
      access: 'read',
      summary: 'One proposal',
      reply: reply.proposalView,
      handle: async ({ params }) => (await artifacts()).proposal(params.id, params.proposal),
    },
    'POST /v0/artifacts/:id/proposals/:proposal/comment': {
      isKeyed: true,
      access: 'run',
      summary: 'Comments on a proposal',
      body: take.proposalAct,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.proposalView,
      handle: async ({ params, body, caller }) =>
        (await artifacts()).comment(params.id, params.proposal, body, caller.subject),
    },
    'POST /v0/artifacts/:id/proposals/:proposal/check': {
      isKeyed: true,
      access: 'run',
      summary: 'Adds the result of a check',
      body: take.proposalCheck,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.proposalView,
      handle: async ({ params, body, caller }) =>
        (await artifacts()).check(params.id, params.proposal, body, caller.subject),
    },
    'POST /v0/artifacts/:id/proposals/:proposal/approve': {
      isKeyed: true,
      access: 'run',
      summary: 'Approves the proposed commit',
      body: take.proposalAct,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.proposalView,
      handle: async ({ params, body, caller }) =>
        (await artifacts()).approve(params.id, params.proposal, body, caller.subject),
    },
    'POST /v0/artifacts/:id/proposals/:proposal/merge': {
      isKeyed: true,
      access: 'run',
      summary: 'Merges a proposal that lacks nothing',
      body: take.proposalAct,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.proposalView,
      handle: async ({ params, body, caller }) =>
        (await artifacts()).mergeProposal(params.id, params.proposal, body, caller.subject),
    },
    'POST /v0/artifacts/:id/proposals/:proposal/close': {
      isKeyed: true,
      access: 'run',
      summary: 'Closes a proposal without merging',
      body: take.proposalAct,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.proposalView,
      handle: async ({ params, body, caller }) =>
        (await artifacts()).closeProposal(params.id, params.proposal, body, caller.subject),
    },
    'GET /v0/artifacts/:id/triggers': {
      access: 'read',
      summary: 'What its pushes start',
      reply: reply.triggersReply,
      handle: async ({ params }) => ({ triggers: await (await artifacts()).triggers(params.id) }),
    },
    'POST /v0/artifacts/:id/triggers': {
      isKeyed: true,
      access: 'run',
      summary: 'Starts a program whenever a branch is pushed',
      body: take.triggerRequest,
      reply: reply.triggerReply,
      handle: async ({ params, body, caller }) => (await artifacts()).addTrigger(params.id, body, caller.subject),
    },
    'POST /v0/artifacts/:id/triggers/:trigger/remove': {
      access: 'run',
      summary: 'Ends a trigger',
      body: nothing,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.triggersReply,
      handle: async ({ params }) => ({ triggers: await (await artifacts()).removeTrigger(params.id, params.trigger) }),
    },
    'POST /v0/tasks/:id/undo': {
      isKeyed: true,
      access: 'run',
      summary: 'Takes back, by new commits, what a task changed in artifacts',
      body: take.undoRequest,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.undoView,
      handle: async ({ params, body, caller }) =>
        (await artifacts()).undo(params.id, body.dryRun ?? false, caller.subject),
    },
  }
}
