/** The commands about artifacts, and what they take. */
import type { Leaf } from './leaf.ts'

const artifact = () => import('./commands/artifact.ts')
const token = () => import('./commands/artifact-token.ts')
const trigger = () => import('./commands/trigger.ts')
const proposal = () => import('./commands/proposal.ts')

const PAGE: NonNullable<Leaf['options']> = [
  ['--limit <count>', 'at most 500 (default: 50)'],
  ['--after <cursor>', 'from the end of the page before'],
]
const TEXT: NonNullable<Leaf['options']> = [['--text <text>', 'what to say with it']]

export const ARTIFACT_GROUPS: Readonly<Record<string, string>> = {
  artifact: 'Git repositories that replicate between nodes',
  'artifact token': 'tokens for Git clients of one artifact',
  'artifact trigger': 'programs that pushes and proposals start',
  proposal: 'proposals to merge one branch of an artifact into another',
}

export const ARTIFACT_LEAVES: Readonly<Record<string, Leaf>> = {
  'artifact create': {
    usage: 'create [name]',
    about: 'make an empty artifact; prints its id and its Git URL with a token',
    options: [
      ['--description <text>', 'what it is'],
      ['--branch <name>', 'its default branch (default: main)'],
      ['--visibility <who>', 'who may read it (default: mesh)', ['private', 'mesh']],
      ['--min <count>', 'nodes that shall hold it, this one included (default: 1)'],
    ],
    examples: ['manyhands artifact create notes', 'git clone "$(manyhands artifact create notes | tail -n 1)"'],
    run: async (context, [name = ''], flags) => (await artifact()).create(context, name, flags),
  },
  'artifact ls': {
    usage: 'ls [prefix]',
    about: 'artifacts of this node by name',
    options: PAGE,
    run: async (context, [prefix], flags) => (await artifact()).list(context, prefix, flags),
  },
  'artifact show': {
    usage: 'show <artifact>',
    about: 'one artifact with its refs, by name or id',
    run: async (context, [name = '']) => (await artifact()).show(context, name),
  },
  'artifact log': {
    usage: 'log <artifact> [rev]',
    about: 'its commits, newest first',
    options: PAGE,
    run: async (context, [name = '', rev], flags) => (await artifact()).log(context, name, rev, flags),
  },
  'artifact cat': {
    usage: 'cat <artifact> <rev:path>',
    about: 'a file of it, or what is in a folder when the path ends in "/"',
    examples: ['manyhands artifact cat notes main:README.md', 'manyhands artifact cat notes main:docs/'],
    run: async (context, [name = '', what = '']) => (await artifact()).cat(context, name, what),
  },
  'artifact diff': {
    usage: 'diff <artifact> <from..to>',
    about: 'what changed between two commits',
    run: async (context, [name = '', range = '']) => (await artifact()).diff(context, name, range),
  },
  'artifact fork': {
    usage: 'fork <artifact> [name]',
    about: 'make an artifact of its own from it',
    run: async (context, [name = '', as]) => (await artifact()).fork(context, name, as),
  },
  'artifact import': {
    usage: 'import <url>',
    about: 'make an artifact of a Git repository elsewhere, by https',
    options: [['--name <name>', 'its name here (default: from its id)']],
    run: async (context, [url = ''], flags) => (await artifact()).importFrom(context, url, flags),
  },
  'artifact clone': {
    usage: 'clone <artifact> [folder]',
    about: 'a working clone of an artifact by id, fetched from the nearest holder',
    examples: ['manyhands artifact clone manyhands://<id> notes'],
    run: async (context, [from = '', folder]) =>
      (await import('./commands/artifact-clone.ts')).clone(context, from, folder),
  },
  'artifact set': {
    usage: 'set <artifact>',
    about: 'change what its owner decides',
    options: [
      ['--name <name>', 'its name'],
      ['--description <text>', 'what it is'],
      ['--branch <name>', 'its default branch'],
      ['--visibility <who>', 'who may read it', ['private', 'mesh']],
      ['--reader <node>+', 'nodes, by name or id, that may read it while it is private; all of them'],
      ['--delegate <node>+', "nodes, by name or id, whose pushes count like the owner's; all of them"],
      ['--threshold <count>', 'how many of owner and delegates must agree on where a ref is; 1: the owner decides'],
      ['--check <name>+', 'checks a proposal needs; all of them'],
      ['--approvals <count>', 'approvals a proposal needs'],
    ],
    run: async (context, [name = ''], flags) => (await artifact()).set(context, name, flags),
  },
  'artifact rm': {
    usage: 'rm <artifact>',
    about: 'remove it from this node; other holders keep theirs',
    run: async (context, [name = '']) => (await artifact()).remove(context, name),
  },
  'artifact gc': {
    usage: 'gc <artifact>',
    about: 'pack it on this node and drop what nothing reaches; happens by itself in time',
    options: [['--now', 'also what refs moved away from in the last 14 days: `undo` may be refused then']],
    run: async (context, [name = ''], flags) => (await artifact()).gc(context, name, flags),
  },
  'artifact replicate': {
    usage: 'replicate <artifact>',
    about: 'say how many nodes shall hold it',
    options: [
      ['--min <count>', 'at least, this one included'],
      ['--max <count>', 'at most'],
      ['--on <node>+', 'nodes that shall hold it in any case, by name or id'],
    ],
    examples: ['manyhands artifact replicate notes --min 3'],
    run: async (context, [name = ''], flags) => (await artifact()).replicate(context, name, flags),
  },
  'artifact status': {
    usage: 'status <artifact>',
    about: 'who holds which record of it, as they signed; exit code 1 while too few do',
    run: async (context, [name = '']) => (await artifact()).status(context, name),
  },
  'artifact verify': {
    usage: 'verify [artifact]',
    about: 'check its whole chain of records; exit code 65 when something is wrong',
    options: [
      ['--clone <folder>', 'check a plain clone instead, without a daemon; it must have fetched refs/manyhands/*'],
    ],
    examples: [
      'manyhands artifact verify notes',
      "git fetch origin 'refs/manyhands/*:refs/manyhands/*' && manyhands artifact verify --clone .",
    ],
    run: async (context, [name = ''], flags) => (await artifact()).verify(context, name, flags),
  },
  'artifact audit': {
    usage: 'audit <artifact>',
    about: 'who moved which ref, by what right, newest first',
    options: [['--writer <node>', "another writer's records (default: the owner's)"], ...PAGE],
    run: async (context, [name = ''], flags) => (await artifact()).audit(context, name, flags),
  },
  'artifact note': {
    usage: 'note <artifact> [rev]',
    about: 'the note of a commit; --text sets it',
    options: [
      ['--kind <name>', 'which notes: refs/notes/<name> (default: commits)'],
      ['--text <text>', 'the note'],
    ],
    run: async (context, [name = '', rev], flags) => (await artifact()).note(context, name, rev, flags),
  },
  'artifact propose': {
    usage: 'propose <artifact>',
    about: 'propose to merge a branch; prints the id of the proposal',
    options: [
      ['!--from <branch>', 'what to merge'],
      ['--into <branch>', 'where to (default: the default branch)'],
      ['--title <text>', "one line (default: that of the commit's message)"],
      ...TEXT,
    ],
    examples: ['manyhands artifact propose notes --from agent/fix --into main'],
    run: async (context, [name = ''], flags) => (await proposal()).propose(context, name, flags),
  },
  'artifact token create': {
    usage: 'create <artifact>',
    about: 'make a token for Git clients of one artifact',
    options: [
      ['--access <access>', 'what it may do (default: write)', ['read', 'write']],
      ['--ttl <duration>', 'how long it is good for (default: until it is revoked)'],
      ['--name <name>', 'shown in listings'],
    ],
    run: async (context, [name = ''], flags) => (await token()).create(context, name, flags),
  },
  'artifact token ls': {
    usage: 'ls <artifact>',
    about: 'its Git tokens, without their secrets',
    run: async (context, [name = '']) => (await token()).list(context, name),
  },
  'artifact token revoke': {
    usage: 'revoke <artifact> <id>',
    about: 'end a Git token',
    run: async (context, [name = '', id = '']) => (await token()).revoke(context, name, id),
  },
  'artifact trigger add': {
    usage: 'add <artifact> <file>',
    about: 'start a program whenever a branch is pushed, or a proposal made or merged',
    options: [
      ['--name <name>', 'what it is called (default: on-push and so on)'],
      ['--on <what>', 'what starts it (default: push)', ['push', 'proposal', 'merge']],
      ['--branch <name>', 'pushed, or merged into: a branch, or a prefix ending in "*" (default: *)'],
      ['--per-minute <count>', 'starts in a minute; more are dropped (default: 10)'],
      ['--path <path>+', 'give it these files of the commit it is about'],
    ],
    run: async (context, [name = '', file = ''], flags) => (await trigger()).add(context, name, file, flags),
  },
  'artifact trigger ls': {
    usage: 'ls <artifact>',
    about: 'what its pushes and proposals start',
    run: async (context, [name = '']) => (await trigger()).list(context, name),
  },
  'artifact trigger rm': {
    usage: 'rm <artifact> <name>',
    about: 'end a trigger',
    run: async (context, [name = '', which = '']) => (await trigger()).remove(context, name, which),
  },
  'proposal ls': {
    usage: 'ls <artifact>',
    about: 'proposals of an artifact, newest first',
    options: [['--state <state>', 'only these', ['open', 'merged', 'closed']], ...PAGE],
    run: async (context, [name = ''], flags) => (await proposal()).list(context, name, flags),
  },
  'proposal show': {
    usage: 'show <artifact> <id>',
    about: 'one proposal: what it lacks, checks, approvals, comments',
    run: async (context, [name = '', id = '']) => (await proposal()).show(context, name, id),
  },
  'proposal comment': {
    usage: 'comment <artifact> <id> <text>',
    about: 'say something about it',
    run: async (context, [name = '', id = '', text = '']) => (await proposal()).comment(context, name, id, text),
  },
  'proposal check': {
    usage: 'check <artifact> <id>',
    about: 'add the result of a check of the proposed commit',
    options: [['!--name <name>', 'which check'], ['!--result <result>', 'how it went', ['pass', 'fail']], ...TEXT],
    run: async (context, [name = '', id = ''], flags) => (await proposal()).check(context, name, id, flags),
  },
  'proposal approve': {
    usage: 'approve <artifact> <id>',
    about: "approve the proposed commit; its author's own does not count",
    options: TEXT,
    run: async (context, [name = '', id = ''], flags) => (await proposal()).approve(context, name, id, flags),
  },
  'proposal merge': {
    usage: 'merge <artifact> <id>',
    about: 'merge a proposal that lacks nothing',
    options: TEXT,
    run: async (context, [name = '', id = ''], flags) => (await proposal()).merge(context, name, id, flags),
  },
  'proposal close': {
    usage: 'close <artifact> <id>',
    about: 'close a proposal without merging',
    options: TEXT,
    run: async (context, [name = '', id = ''], flags) => (await proposal()).close(context, name, id, flags),
  },
}
