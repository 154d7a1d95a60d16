/** The command tree. Each command loads its code when it runs, so that starting costs only this file. */
import { Command, CommanderError, Option } from 'commander'
import { ARTIFACT_GROUPS, ARTIFACT_LEAVES } from './artifact-leaves.ts'
import type { Run } from './context.ts'
import type { Io } from './io.ts'
import type { Leaf } from './leaf.ts'
import { SANDBOX_GROUPS, SANDBOX_LEAVES } from './sandbox-leaves.ts'

const node = () => import('./commands/node.ts')
const daemon = () => import('./commands/daemon.ts')
const task = () => import('./commands/task.ts')

const CONFIG_OPTIONS: Leaf['options'] = [
  ['--name <name>', "display name of this node, taken at its first start and at join (default: the host's name)"],
  ['--listen <multiaddr>+', 'where to listen for peers (default: /ip4/0.0.0.0/tcp/0)'],
  ['--port <number>', 'also serve the local API on loopback TCP; 0: any free port (default: unix socket only)'],
  [
    '--log-level <level>',
    'least severe level that is logged',
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
  ],
  ['--config <file>', 'configuration file (default: see `manyhands paths`)'],
  ['--set <key=value>+', 'any configuration key, e.g. executor.slots=4'],
]

const TASK_OPTIONS: NonNullable<Leaf['options']> = [
  ['--on <node>', 'any, local, other, or the name or id of a node (default: any)'],
  ['--grade <grade>', 'lowest isolation grade that will do', ['process', 'jailed', 'gvisor', 'microvm']],
  ['--capability <label>', 'what the node must offer (default: isolate)'],
  ['--label <label>+', 'labels the node must carry'],
  ['--limit <name=value>+', 'wall, cpu (500ms, 5s); memory, output, log, call-bytes (64MB); calls (100)'],
  ['--deadline <duration>', 'for the whole task over all attempts'],
  ['--name <name>', 'shown in listings'],
  ['--key <key>', 'idempotency key: the same key and request are one task and one answer'],
]

const LEAVES: Readonly<Record<string, Leaf>> = {
  up: {
    usage: 'up',
    about: 'start the daemon of this node',
    options: [['--detach', 'return once it answers; it runs on'], ...CONFIG_OPTIONS],
    examples: ['manyhands up', 'manyhands up --detach --name lab-1'],
    run: async (context, _, flags) => (await daemon()).up(context, flags),
  },
  down: {
    usage: 'down',
    about: 'stop the daemon and wait until it ended',
    options: [['--timeout <duration>', 'how long to wait (default: 30s)']],
    run: async (context, _, flags) => (await daemon()).down(context, flags),
  },
  join: {
    usage: 'join <invite>',
    about: 'make this node a member of a mesh',
    options: CONFIG_OPTIONS,
    examples: ['manyhands join mh1-… --name lab-2 && manyhands up'],
    run: async (context, [invite = ''], flags) => (await daemon()).join(context, invite, flags),
  },
  invite: {
    usage: 'invite',
    about: 'make a single-use invite to the mesh',
    options: [
      ['--role <role>', 'what the new node may do (default: member)', ['member', 'admin']],
      ['--ttl <duration>', 'how long it is good for, at most 7d (default: 1h)'],
    ],
    examples: ['manyhands invite', 'manyhands invite --role admin --ttl 10m --json'],
    run: async (context, _, flags) => (await node()).invite(context, flags),
  },
  status: { usage: 'status', about: 'this node at a glance', run: async (context) => (await node()).status(context) },
  peers: {
    usage: 'peers',
    about: 'the other nodes of the mesh',
    run: async (context) => (await node()).peers(context),
  },
  capabilities: {
    usage: 'capabilities [label]',
    about: 'what the mesh offers, and where',
    run: async (context, [label]) => (await node()).capabilities(context, label),
  },
  doctor: {
    usage: 'doctor',
    about: 'check this node; exit code 1 when something fails',
    run: async (context) => (await node()).doctor(context),
  },
  members: {
    usage: 'members',
    about: 'who belongs to the mesh',
    run: async (context) => (await node()).members(context),
  },
  revoke: {
    usage: 'revoke <node>',
    about: 'put a node out of the mesh, by id or name',
    run: async (context, [who = '']) => (await node()).revoke(context, who),
  },
  run: {
    usage: 'run <file>',
    about: 'run a program on the nearest able node; "-" reads it from standard input',
    options: [
      ['--input <file>', 'JSON for the program; "-" reads standard input'],
      ['--input-json <json>', 'JSON for the program'],
      ...TASK_OPTIONS,
      ['--explain', 'say why that node'],
      ['--detach', 'print the task and return'],
      ['--quiet', 'without the console output of the program'],
      ['--take <artifact@rev>', 'give it the files of an artifact as input.files'],
      ['--take-path <path>+', 'only these files and folders'],
      ['--give <artifact@branch>', 'commit the files it returns, {files: {path: text}}'],
    ],
    examples: [
      'manyhands run summarize.ts --input data.json',
      'manyhands run summarize.ts --on other --explain',
      'manyhands run report.ts --take notes@main --give notes@reports',
      'echo "export default (n) => n * 2" | manyhands run - --input-json 21 --limit wall=1s,memory=32MB',
    ],
    run: async (context, [file = ''], flags) => (await import('./commands/run.ts')).run(context, file, flags),
  },
  map: {
    usage: 'map <file>',
    about: 'run a program over every line of a file, on the whole mesh; results in order',
    stream: true,
    options: [
      ['!--inputs <jsonl>', 'one JSON value a line; "-" reads standard input'],
      ['--progress', 'counts by node, on a terminal'],
      ['--fresh', 'a fresh isolate for every input'],
      ['--piece-size <count>', 'inputs per piece of delegated work'],
      ['--out <file>', 'write the results there'],
      ...TASK_OPTIONS,
    ],
    examples: [
      'manyhands map count.ts --inputs files.jsonl --progress',
      'manyhands map count.ts --inputs - --out counts.jsonl < files.jsonl',
    ],
    run: async (context, [file = ''], flags) =>
      (await import('./commands/map.ts')).map(context, file, { inputs: '-', ...flags }),
  },
  'task ls': {
    usage: 'ls',
    about: 'tasks of this node, newest first',
    options: [
      ['--limit <count>', 'at most 500 (default: 50)'],
      ['--state <state>', 'only these'],
      ['--kind <kind>', 'only these', ['run', 'map', 'session']],
      ['--after <cursor>', 'from the end of the page before'],
    ],
    run: async (context, _, flags) => (await task()).list(context, flags),
  },
  'task show': {
    usage: 'show <id>',
    about: 'one task',
    run: async (context, [id = '']) => (await task()).show(context, id),
  },
  'task watch': {
    usage: 'watch <id>',
    about: 'its events from the beginning to its end',
    stream: true,
    run: async (context, [id = '']) => (await task()).watch(context, id),
  },
  'task cancel': {
    usage: 'cancel <id>',
    about: 'end it',
    run: async (context, [id = '']) => (await task()).cancel(context, id),
  },
  'task explain': {
    usage: 'explain <id>',
    about: 'why that node: each candidate with its score and reason',
    run: async (context, [id = '']) => (await task()).explain(context, id),
  },
  'task receipts': {
    usage: 'receipts <id>',
    about: 'its signed receipts, as JSON',
    examples: ['manyhands task receipts <id> > receipts.json && manyhands receipt verify receipts.json'],
    run: async (context, [id = '']) => (await task()).receipts(context, id),
  },
  'task results': {
    usage: 'results <id>',
    about: 'the results of a map, as JSON lines',
    options: [
      ['--from <index>', 'first result (default: 0)'],
      ['--limit <count>', 'at most (default: 512)'],
    ],
    run: async (context, [id = ''], flags) => (await task()).results(context, id, flags),
  },
  undo: {
    usage: 'undo <task>',
    about: 'take back, by new commits, everything a task changed in artifacts; exit code 1 when it refuses',
    options: [['--dry-run', 'only say what would be done']],
    run: async (context, [id = ''], flags) => (await import('./commands/undo.ts')).undo(context, id, flags),
  },
  ...ARTIFACT_LEAVES,
  'receipt verify': {
    usage: 'verify <file>',
    about: 'check receipts offline; "-" reads standard input; exit code 65 when one is not valid',
    run: async (context, [file = '']) => (await import('./commands/receipt.ts')).verify(context, file),
  },
  ...SANDBOX_LEAVES,
  'token ls': {
    usage: 'ls',
    about: 'further tokens of the local API',
    run: async (context) => (await node()).tokenList(context),
  },
  'token create': {
    usage: 'create <name>',
    about: 'make a token with no more rights than it needs',
    options: [['--access <access>', 'what it may do (default: run)', ['read', 'run', 'admin']]],
    run: async (context, [name = ''], flags) => (await node()).tokenCreate(context, name, flags),
  },
  'token revoke': {
    usage: 'revoke <name>',
    about: 'end a token',
    run: async (context, [name = '']) => (await node()).tokenRevoke(context, name),
  },
  events: {
    usage: 'events',
    about: 'what happens in the mesh, as it happens',
    stream: true,
    run: async (context) => (await node()).events(context),
  },
  'config show': {
    usage: 'show',
    about: 'the configuration of the running daemon',
    options: [['--origin', 'where each value comes from']],
    run: async (context, _, flags) => (await node()).configShow(context, flags),
  },
  paths: {
    usage: 'paths',
    about: 'where everything of this node is',
    run: async (context) => (await daemon()).showPaths(context),
  },
  completion: {
    usage: 'completion <shell>',
    about: 'completion script for a shell: bash, zsh or fish',
    examples: [
      'source <(manyhands completion bash)',
      'manyhands completion fish > ~/.config/fish/completions/manyhands.fish',
    ],
    run: async (context, [shell = '']) => {
      const { completion } = await import('./commands/completion.ts')
      return completion(context, buildProgram({ io: context.output.io, exit: ignore, help: ignore }), shell)
    },
  },
  version: {
    usage: 'version',
    about: 'version of this program',
    run: async (context) => (await import('./commands/version.ts')).version(context),
  },
}

const GROUPS: Readonly<Record<string, string>> = {
  task: 'tasks of this node',
  ...ARTIFACT_GROUPS,
  receipt: 'signed receipts',
  ...SANDBOX_GROUPS,
  token: 'tokens of the local API',
  config: 'configuration',
}

const ignore = (): void => undefined

export interface ProgramParts {
  readonly io: Io
  /** Told the exit code of the command that ran */
  readonly exit: (code: number) => void
  /** Told the help that was asked for */
  readonly help: (text: string) => void
}

/** @param path of a command, e.g. "secret set" */
export function usageHint(path: string): string | undefined {
  return LEAVES[path]?.usageHint
}

export function buildProgram(parts: ProgramParts): Command {
  const program = new Command('manyhands')
    .description('An agent cloud that nobody owns: lends and borrows compute between your own hosts.')
    .enablePositionalOptions()
    .exitOverride()
    // What it refuses is told by who called it
    .configureOutput({ writeOut: parts.help, writeErr: ignore, outputError: ignore })
  const groups = new Map<string, Command>()
  for (const [path, leaf] of Object.entries(LEAVES)) {
    let parent = program
    let name = ''
    for (const word of path.split(' ').slice(0, -1)) {
      name = name === '' ? word : `${name} ${word}`
      parent = groups.get(name) ?? addGroup(parent, word, name, groups)
    }
    addLeaf(parent, leaf, parts)
  }
  for (const command of [program, ...groups.values()]) addHelp(command)
  program.addHelpText(
    'after',
    '\nmanyhands --version is short for manyhands version.\nExit codes and errors: docs/ERRORS.md. MANYHANDS_HOME puts everything of a node under one folder.',
  )
  return program
}

function addGroup(parent: Command, word: string, name: string, groups: Map<string, Command>): Command {
  const command = parent
    .command(word)
    .description(GROUPS[name] ?? '')
    .copyInheritedSettings(parent)
    .enablePositionalOptions()
  groups.set(name, command)
  return command
}

/** Unlike commander's own it goes down the tree, and refuses what is not there. */
function addHelp(parent: Command): void {
  const help = parent.helpCommand(false).command('help [command...]').description('help for a command')
  help.action(() => {
    let command = parent
    for (const word of help.args) {
      const child = command.commands.find((one) => one.name() === word)
      if (!child) command.error(`error: unknown command '${word}'`, { code: 'commander.unknownCommand' })
      else command = child
    }
    command.help()
  })
}

/** Of two values one would be dropped unseen. */
function onceOnly(option: Option): void {
  const { parseArg } = option
  option.argParser((text: string, before: unknown) => {
    if (before === undefined) return parseArg ? parseArg(text, before) : text
    throw new CommanderError(1, 'manyhands.repeatedOption', `error: option '${option.flags}' was given twice`)
  })
}

function addLeaf(parent: Command, leaf: Leaf, { io, exit }: ProgramParts): void {
  const command = parent.command(leaf.usage).description(leaf.about)
  if (leaf.passThrough) command.passThroughOptions()
  for (const [flags, about, choices] of leaf.options ?? []) {
    const option = new Option(
      flags.replace(/^!|\+$/g, ''),
      flags.endsWith('+') ? `${about}; may be given again` : about,
    )
    if (choices) option.choices([...choices])
    if (flags.endsWith('+')) option.argParser((text: string, before: string[] | undefined) => [...(before ?? []), text])
    else if (option.required) onceOnly(option)
    if (flags.startsWith('!')) option.makeOptionMandatory()
    command.addOption(option)
  }
  command.option('--json', leaf.stream ? 'print one JSON object a line' : 'print one JSON object')
  if (leaf.examples) command.addHelpText('after', `\nExamples:\n${leaf.examples.map((line) => `  ${line}`).join('\n')}`)
  command.action(async () => {
    const { json, ...flags } = command.opts<Record<string, unknown>>()
    const run: Run = (context) => leaf.run(context, command.args, flags)
    const { runCommand } = await import('./context.ts')
    exit(await runCommand(io, json === true, run))
  })
}
