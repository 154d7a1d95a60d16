/** Artifacts: Git repositories that replicate between nodes. */
import { type Artifact, ManyhandsError, verifyArtifactClone } from '../../../sdk/src/index.ts'
import {
  artifactsText,
  artifactText,
  auditText,
  diffText,
  logText,
  replicationText,
  treeText,
  verifyText,
} from '../artifact-views.ts'
import type { Context } from '../context.ts'
import { nodeIds } from '../node-names.ts'
import { safeLine, safeText } from '../terminal.ts'
import { formatSize, parseCount } from '../units.ts'
import { chosen, split } from '../words.ts'

export interface CreateFlags {
  readonly description?: string
  readonly branch?: string
  readonly visibility?: string
  readonly min?: string
}

/** Prints its id, its Git URL and a token; with --json all of it. */
export async function create({ mesh, output }: Context, name: string, flags: CreateFlags): Promise<undefined> {
  const visibility = chosen('visibility', flags.visibility, ['private', 'mesh'])
  const made = await (await mesh()).artifacts.create({
    ...(name === '' ? {} : { name }),
    ...(flags.description === undefined ? {} : { description: flags.description }),
    ...(flags.branch === undefined ? {} : { defaultBranch: flags.branch }),
    ...(visibility === undefined ? {} : { visibility }),
    ...(flags.min === undefined ? {} : { replicas: { min: parseCount(flags.min) } }),
  })
  const { token } = await made.tokens.create()
  await output.answer({ ...made.view, token }, () => `${safeLine(made.id)}\n${urlText(made, token)}`)
  if (!output.json) output.note('The token in the URL is shown this once; more with: manyhands artifact token create')
}

function urlText({ view }: Artifact, token: string): string {
  if (view.gitUrl === undefined)
    return `${safeLine(view.gitPath)} (no loopback listener: see api.port)  token ${safeLine(token)}`
  const url = new URL(view.gitUrl)
  url.username = 'x'
  url.password = token
  return safeLine(url.href)
}

export interface ListFlags {
  readonly limit?: string
  readonly after?: string
}

export async function list(
  { mesh, output }: Context,
  prefix: string | undefined,
  flags: ListFlags,
): Promise<undefined> {
  const limit = flags.limit === undefined ? undefined : parseCount(flags.limit)
  const page = await (await mesh()).artifacts.list({ prefix, limit, after: flags.after })
  await output.answer(page, () => artifactsText(page.artifacts, output.io.columns))
  if (!output.json && page.next !== undefined) output.note(`more: --after ${safeLine(page.next)}`)
}

export async function show({ mesh, output }: Context, name: string): Promise<undefined> {
  const artifact = await (await mesh()).artifact(name)
  const { refs } = await artifact.refs({ limit: 100 })
  await output.answer({ ...artifact.view, refs }, () => artifactText(artifact.view, refs))
}

export async function log(
  { mesh, output }: Context,
  name: string,
  rev: string | undefined,
  flags: ListFlags,
): Promise<undefined> {
  const limit = flags.limit === undefined ? undefined : parseCount(flags.limit)
  const page = await (await (await mesh()).artifact(name)).log({ rev, limit, after: flags.after })
  await output.answer(page, () => logText(page.commits))
  if (!output.json && page.next !== undefined) output.note(`more: --after ${safeLine(page.next)}`)
}

/** A file, or what is in a folder. @param what "<rev>:<path>", ":<path>" or "<path>" */
export async function cat({ mesh, output }: Context, name: string, what: string): Promise<undefined> {
  const artifact = await (await mesh()).artifact(name)
  const [rev, path] = split(what, ':')
  const options = { rev: rev === '' ? undefined : rev }
  if (path === '' || path.endsWith('/')) {
    const folder = path.replace(/\/+$/, '')
    const page = await artifact.list({ ...options, path: folder === '' ? undefined : folder, limit: 500 })
    if (page.next !== undefined && !output.json) output.note('more than is shown: ask for a folder, or use --json')
    return output.answer(page, () => treeText(page.entries)).then(() => undefined)
  }
  const file = await artifact.file(path, options)
  if (output.json) return output.jsonLine(file).then(() => undefined)
  const terminal = output.io.columns !== undefined
  if (file.text !== undefined)
    return output.io.writeOut(terminal ? `${safeText(file.text)}\n` : file.text).then(() => undefined)
  if (terminal)
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot show ${what}: it is not text`, {
      hint: 'Write it into a file: > name',
    })
  return output.bytes(Buffer.from(file.base64 ?? '', 'base64')).then(() => undefined)
}

/** @param range "<from>..<to>", or one of them: then to the default branch */
export async function diff({ mesh, output }: Context, name: string, range: string): Promise<undefined> {
  const [from = '', to] = range.split('..', 2)
  const view = await (await (await mesh()).artifact(name)).diff(from, to === '' ? undefined : to)
  await output.answer(view, () => diffText(view))
}

export async function fork({ mesh, output }: Context, name: string, as: string | undefined): Promise<undefined> {
  const forked = await (await (await mesh()).artifact(name)).fork(as === undefined ? {} : { name: as })
  await output.answer(forked.view, () => safeLine(forked.id))
}

export async function importFrom(
  { mesh, output, signal }: Context,
  url: string,
  flags: { readonly name?: string },
): Promise<undefined> {
  if (!output.json) output.note(`importing ${safeLine(url)}`)
  const made = await (await mesh()).artifacts.import(
    { url, ...(flags.name === undefined ? {} : { name: flags.name }) },
    { signal },
  )
  const { missingFiles = 0, leftRefs = 0 } = made.view.imported ?? {}
  if (!output.json && missingFiles > 0)
    output.note(
      `large files (Git LFS) that its commits name and that were not imported: ${missingFiles}; push them from a clone that has them: git lfs push --all <URL of the artifact>`,
    )
  if (!output.json && leftRefs > 0)
    output.note(`branches and tags left out, since an artifact cannot hold their names: ${leftRefs}`)
  await output.answer(made.view, () => safeLine(made.id))
}

export async function remove({ mesh, output }: Context, name: string): Promise<undefined> {
  const artifact = await (await mesh()).artifact(name)
  await artifact.remove()
  await output.answer({ removed: artifact.id }, () => `removed ${safeLine(artifact.view.name)} from this node`)
}

/** Garbage collection. */
export async function gc(
  { mesh, output }: Context,
  name: string,
  { now }: { readonly now?: boolean },
): Promise<undefined> {
  const artifact = await (await mesh()).artifact(name)
  const done = await artifact.collect(now === undefined ? {} : { now })
  await output.answer({ artifact: artifact.id, ...done }, () => {
    const [before, after] = [formatSize(done.bytesBefore), formatSize(done.bytesAfter)]
    return `${safeLine(artifact.view.name)} takes ${after} here; it took ${before}`
  })
}

export interface ReplicateFlags {
  readonly min?: string
  readonly max?: string
  readonly on?: string[]
}

export async function replicate({ mesh, output }: Context, name: string, flags: ReplicateFlags): Promise<undefined> {
  assertAny('replicate', flags, '`manyhands artifact status` shows what is wanted and what is there')
  const open = await mesh()
  const named = flags.on ?? []
  const members = named.length === 0 ? [] : (await open.members()).members
  const mustInclude = named.map((who) => {
    const found = members.find((member) => member.id === who || member.name === who)
    if (found === undefined)
      throw new ManyhandsError('E_NOT_FOUND', `Cannot replicate to "${who}": no member has that id or name`, {
        hint: 'See those there are with: manyhands members',
      })
    return found.id
  })
  const view = await (await open.artifact(name)).replicate({
    ...(flags.min === undefined ? {} : { min: parseCount(flags.min) }),
    ...(flags.max === undefined ? {} : { max: parseCount(flags.max) }),
    ...(named.length === 0 ? {} : { mustInclude }),
  })
  await output.answer(view, () => replicationText(view, output.io.columns))
}

/** Exit code 1 while it is not held as it shall be. */
export async function status({ mesh, output }: Context, name: string): Promise<number> {
  const view = await (await (await mesh()).artifact(name)).replication()
  await output.answer(view, () => replicationText(view, output.io.columns))
  return view.state === 'healthy' ? 0 : 1
}

/** Exit code 65 when something does not verify. */
export async function verify(
  { mesh, output, signal }: Context,
  name: string,
  { clone }: { readonly clone?: string },
): Promise<number> {
  if ((name === '') === (clone === undefined))
    throw new ManyhandsError('E_BAD_REQUEST', 'Cannot verify: either an artifact or --clone <folder> is wanted')
  const view =
    clone === undefined
      ? await (await (await mesh()).artifact(name)).verify({ signal })
      : await verifyArtifactClone(clone)
  await output.answer(view, () => verifyText(view, output.io.columns))
  return view.valid ? 0 : 65
}

export async function audit(
  { mesh, output }: Context,
  name: string,
  flags: ListFlags & { readonly writer?: string },
): Promise<undefined> {
  const limit = flags.limit === undefined ? undefined : parseCount(flags.limit)
  const page = await (await (await mesh()).artifact(name)).audit({
    ...(flags.writer === undefined ? {} : { writer: flags.writer }),
    ...(limit === undefined ? {} : { limit }),
    ...(flags.after === undefined ? {} : { after: flags.after }),
  })
  await output.answer(page, () => auditText(page.records))
  if (!output.json && page.next !== undefined) output.note(`more: --after ${safeLine(page.next)}`)
}

export interface NoteFlags {
  readonly kind?: string
  readonly text?: string
}

/** Shows the note of a commit, or with --text sets it. */
export async function note(
  { mesh, output }: Context,
  name: string,
  rev: string | undefined,
  flags: NoteFlags,
): Promise<number> {
  const artifact = await (await mesh()).artifact(name)
  const about = { ...(rev === undefined ? {} : { rev }), ...(flags.kind === undefined ? {} : { kind: flags.kind }) }
  if (flags.text !== undefined) {
    const set = await artifact.addNote({ ...about, text: flags.text })
    await output.answer(set, () => `noted in ${safeLine(set.ref)}`)
    return 0
  }
  const text = await artifact.note(about)
  await output.answer({ text: text ?? null }, () => safeText(text?.trimEnd() ?? 'No note.'))
  return text === undefined ? 1 : 0
}

export interface SetFlags {
  readonly name?: string
  readonly description?: string
  readonly branch?: string
  readonly visibility?: string
  readonly reader?: string[]
  readonly delegate?: string[]
  readonly threshold?: string
  readonly check?: string[]
  readonly approvals?: string
}

/** Changes what the owner decides. An empty text empties a list. */
export async function set({ mesh, output }: Context, name: string, flags: SetFlags): Promise<undefined> {
  assertAny('set', flags, '`manyhands artifact show` shows what is set')
  const visibility = chosen('visibility', flags.visibility, ['private', 'mesh'])
  const client = await mesh()
  const artifact = await client.artifact(name)
  const nodesOf = (named: readonly string[]) =>
    nodeIds(
      client,
      named.filter((one) => one !== ''),
    )
  const review = {
    ...(flags.check === undefined ? {} : { checks: flags.check.filter((one) => one !== '') }),
    ...(flags.approvals === undefined ? {} : { approvals: parseCount(flags.approvals) }),
  }
  const view = await artifact.update({
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.description === undefined ? {} : { description: flags.description }),
    ...(flags.branch === undefined ? {} : { defaultBranch: flags.branch }),
    ...(flags.threshold === undefined ? {} : { threshold: parseCount(flags.threshold) }),
    ...(visibility === undefined ? {} : { visibility }),
    ...(flags.reader === undefined ? {} : { readers: await nodesOf(flags.reader) }),
    ...(flags.delegate === undefined ? {} : { delegates: await nodesOf(flags.delegate) }),
    ...(Object.keys(review).length === 0 ? {} : { review }),
  })
  await output.answer(view, () => artifactText(view, []))
}

/** A change of nothing would be one more record for nothing. */
function assertAny(command: string, flags: object, hint: string): void {
  const { json: _, ...wanted } = { json: undefined, ...flags }
  if (Object.values(wanted).every((value) => value === undefined))
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot ${command}: no option says what to change`, { hint })
}
