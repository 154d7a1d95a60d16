/** The commands of sandboxes, images, secrets, policy, services and egress. */
import type { Leaf } from './leaf.ts'

const sandbox = () => import('./commands/sandbox.ts')
const inside = () => import('./commands/sandbox-exec.ts')
const files = () => import('./commands/sandbox-files.ts')
const image = () => import('./commands/image.ts')
const secret = () => import('./commands/secret.ts')
const policy = () => import('./commands/policy.ts')
const service = () => import('./commands/service.ts')

const ON: NonNullable<Leaf['options']>[number] = ['--on <node>', 'name or id of a node (default: this one)']

const EXEC_OPTIONS: NonNullable<Leaf['options']> = [
  ['--cwd <folder>', 'folder to run in (default: the workspace)'],
  ['--env <name=value>+', 'environment of the command'],
  ['--timeout <duration>', 'end it after'],
]

const RULE_OPTIONS: NonNullable<Leaf['options']> = [
  ['!--host <host>', 'a name, *.example.com (any name below it), an address, or "*"'],
  ['--for <subject>+', 'any, agent/<name>, task/<id>, sandbox/<name>, node/<id> (default: any)'],
  ['--port <port>+', 'only these (default: 80 and 443 to allow, all to deny)'],
  ['--method <method>+', 'only these'],
  ['--path <pattern>', 'only paths like this; "*" stands for anything'],
  ['--id <id>', 'in place of the rule with this id'],
  ['--note <text>', 'for people'],
]

export const SANDBOX_LEAVES: Readonly<Record<string, Leaf>> = {
  'sandbox create': {
    usage: 'create',
    about: 'make a Linux environment on the nearest able node',
    options: [
      ['--image <image>', "as `image ls` shows it (default: the node's)"],
      ['--artifact <artifact>', 'the workspace becomes a clone of it; the image needs git'],
      ['--artifact-access <access>', 'read: it may not push (default: write)', ['read', 'write']],
      ['--name <name>', 'to call it by'],
      ['--on <node>', 'any, local, other, or the name or id of a node (default: any)'],
      ['--grade <grade>', 'lowest isolation grade that will do', ['process', 'jailed', 'gvisor', 'microvm']],
      ['--profile <profile>', 'strict: read-only root; build: root inside (default: strict)', ['strict', 'build']],
      ['--limit <name=value>+', 'memory, disk, tmp, root (512MB); cpus (0.5); pids, inodes (1000)'],
      ['--env <name=value>+', 'environment of every command; no secrets'],
      ['--idle <duration>', 'sleep when unused for this long; 0: never'],
      ['--agent <agent>', 'whose egress rules it is under'],
      ['--key <key>', 'idempotency key: the same key and request are one sandbox'],
    ],
    examples: [
      'manyhands sandbox create --name dev',
      'manyhands sandbox create --image debian:12 --name dev --limit memory=1GB,cpus=2 --on other',
    ],
    run: async (context, _, flags) => (await sandbox()).create(context, flags),
  },
  'sandbox ls': {
    usage: 'ls [target]',
    about: 'sandboxes of this node, wherever they are; or the files of one: dev, dev:/path',
    run: async (context, [target]) =>
      target === undefined ? (await sandbox()).list(context) : (await files()).listFiles(context, target),
  },
  'sandbox show': {
    usage: 'show <sandbox>',
    about: 'one sandbox, asked of its node',
    run: async (context, [id = '']) => (await sandbox()).show(context, id),
  },
  'sandbox exec': {
    usage: 'exec <sandbox> <command...>',
    about: 'run a command; its exit code is the exit code, and Ctrl-C reaches it',
    options: [['-i, --stdin', 'pass standard input on'], ...EXEC_OPTIONS],
    passThrough: true,
    examples: [
      'manyhands sandbox exec dev -- npm test',
      "manyhands sandbox exec --cwd src dev -- sh -c 'ls | wc -l'",
      'tar c . | manyhands sandbox exec -i dev -- tar x',
    ],
    run: async (context, args, flags) => (await inside()).exec(context, args, flags),
  },
  'sandbox sh': {
    usage: 'sh <sandbox> [command...]',
    about: 'a terminal inside',
    options: EXEC_OPTIONS.slice(0, 2),
    passThrough: true,
    examples: ['manyhands sandbox sh dev', 'manyhands sandbox sh dev -- python3'],
    run: async (context, args, flags) => (await inside()).shell(context, args, flags),
  },
  'sandbox start': {
    usage: 'start <sandbox> <command...>',
    about: 'run a command in the background; prints its id',
    options: EXEC_OPTIONS,
    passThrough: true,
    examples: ['manyhands sandbox start dev -- npm run serve'],
    run: async (context, args, flags) => (await inside()).start(context, args, flags),
  },
  'sandbox ps': {
    usage: 'ps <sandbox>',
    about: 'background processes',
    run: async (context, [id = '']) => (await inside()).processes(context, id),
  },
  'sandbox kill': {
    usage: 'kill <sandbox> <process>',
    about: 'send a signal to a background process',
    options: [['--signal <signal>', 'which (default: SIGTERM)']],
    run: async (context, [id = '', process = ''], flags) => (await inside()).kill(context, id, process, flags),
  },
  'sandbox logs': {
    usage: 'logs <sandbox> [process]',
    about: 'output of a background process (default: the newest)',
    options: [['-f, --follow', 'go on until it ends']],
    stream: true,
    run: async (context, [id = '', process], flags) => (await inside()).logs(context, id, process, flags),
  },
  'sandbox run-code': {
    usage: 'run-code <sandbox> <language> [code]',
    about: 'run python, node or shell code whose state is kept; without code, standard input',
    options: [
      ['--context <name>', 'whose state (default: default)'],
      ['--timeout <duration>', 'end it after'],
    ],
    examples: ["manyhands sandbox run-code dev python 'x = 6 * 7'", "manyhands sandbox run-code dev python 'x'"],
    run: async (context, [id = '', language = '', code], flags) =>
      (await inside()).runCode(context, id, language, code, flags),
  },
  'sandbox cp': {
    usage: 'cp <from> <to>',
    about: 'copy files and folders; <sandbox>:<path> is inside, "-" a standard stream',
    examples: ['manyhands sandbox cp report.csv dev:data/', 'manyhands sandbox cp dev:out .'],
    run: async (context, [from = '', to = '']) => (await files()).copy(context, from, to),
  },
  'sandbox port': {
    usage: 'port <sandbox> <port>',
    about: 'open a port of it on this host until Ctrl-C',
    options: [
      ['--local <port>', 'port here (default: the same if free, else any)'],
      ['--wait <duration>', 'wait until something listens there'],
    ],
    examples: ['manyhands sandbox port dev 3000'],
    run: async (context, [id = '', port = ''], flags) => (await sandbox()).port(context, id, port, flags),
  },
  'sandbox snapshot': {
    usage: 'snapshot <sandbox> [name]',
    about: 'keep its files as they are now',
    run: async (context, [id = '', name]) => (await sandbox()).snapshot(context, id, name),
  },
  'sandbox restore': {
    usage: 'restore <sandbox> [snapshot]',
    about: 'put its files back to a snapshot (default: the newest); its processes end',
    run: async (context, [id = '', name]) => (await sandbox()).restore(context, id, name),
  },
  'sandbox fork': {
    usage: 'fork <sandbox> [name]',
    about: 'make a second one with a copy of its files',
    options: [['--from <snapshot>', 'as they were then (default: as they are now)']],
    run: async (context, [id = '', name], flags) => (await sandbox()).fork(context, id, name, flags),
  },
  'sandbox move': {
    usage: 'move <sandbox>',
    about: 'move it to another node with its files; its id stays, its processes and snapshots end',
    options: [['!--to <node>', 'name or id of a node']],
    run: async (context, [id = ''], flags) => (await sandbox()).move(context, id, { to: '', ...flags }),
  },
  'sandbox sleep': {
    usage: 'sleep <sandbox>',
    about: 'free what it holds until it is used again',
    options: [['--pause', 'only freeze it: it wakes in milliseconds']],
    run: async (context, [id = ''], flags) => (await sandbox()).sleep(context, id, flags),
  },
  'sandbox wake': {
    usage: 'wake <sandbox>',
    about: 'wake it; use does that too',
    run: async (context, [id = '']) => (await sandbox()).wake(context, id),
  },
  'sandbox rm': {
    usage: 'rm <sandbox...>',
    about: 'remove it with its files and snapshots',
    run: async (context, ids) => (await sandbox()).remove(context, ids),
  },
  'image ls': {
    usage: 'ls',
    about: 'images that sandboxes are made from',
    options: [ON],
    run: async (context, _, flags) => (await image()).list(context, flags),
  },
  'image import': {
    usage: 'import <name> <file>',
    about: 'make an image of a tar of a root folder, or one from `docker save`; "-" reads standard input',
    options: [ON],
    examples: ['debootstrap bookworm root && tar c -C root . | manyhands image import debian:12 -'],
    run: async (context, [name = '', file = ''], flags) => (await image()).importImage(context, name, file, flags),
  },
  'image pull': {
    usage: 'pull <name>',
    about: 'get an image from a registry',
    options: [ON],
    run: async (context, [name = ''], flags) => (await image()).pull(context, name, flags),
  },
  'image build-default': {
    usage: 'build-default',
    about: 'build the default image from Debian packages',
    options: [ON],
    run: async (context, _, flags) => (await image()).buildDefault(context, flags),
  },
  'secret set': {
    usage: 'set <name>',
    about: 'keep a secret, read from standard input or asked for; it is never shown again',
    examples: ['manyhands secret set github < token.txt'],
    usageHint: 'A value is never taken from the command line: manyhands secret set <name> < file',
    run: async (context, [name = '']) => (await secret()).set(context, name),
  },
  'secret ls': {
    usage: 'ls',
    about: 'names of secrets',
    run: async (context) => (await secret()).list(context),
  },
  'secret rm': {
    usage: 'rm <name>',
    about: 'forget a secret',
    run: async (context, [name = '']) => (await secret()).remove(context, name),
  },
  'policy allow': {
    usage: 'allow',
    about: 'let guests reach a host',
    options: [
      ...RULE_OPTIONS,
      ['--address <range>+', 'addresses as CIDR that are not public and may be reached'],
      ['--inject <header=secret>+', 'put a secret into a header, e.g. Authorization=github'],
      ['--replace <header=secret>+', 'replace the placeholder that the guest holds in a header'],
      ['--placeholder <variable>', 'with --replace: environment variable in which the guest finds the placeholder'],
      ['--rewrite <url>', 'go there instead: scheme, host and port of this URL'],
      ['--handler <program>', 'a program that answers instead of the host'],
      ['--opaque', 'let tunnels through that are not TLS to this very host'],
      ['--plain', 'let credentials travel over plain HTTP'],
    ],
    examples: [
      'manyhands policy allow --host packages.example.com --method GET',
      'manyhands policy allow --for agent/ci --host api.github.com --method GET --inject Authorization=github',
    ],
    run: async (context, _, flags) => (await policy()).allow(context, { host: '', ...flags }),
  },
  'policy deny': {
    usage: 'deny',
    about: 'keep guests from a host, whatever else allows it',
    options: RULE_OPTIONS,
    run: async (context, _, flags) => (await policy()).deny(context, { host: '', ...flags }),
  },
  'policy ls': {
    usage: 'ls',
    about: 'rules of the door',
    run: async (context) => (await policy()).list(context),
  },
  'policy rm': {
    usage: 'rm <id>',
    about: 'remove a rule',
    run: async (context, [id = '']) => (await policy()).remove(context, id),
  },
  'policy explain': {
    usage: 'explain <url>',
    about: 'what would happen to a request, and why',
    options: [
      ['--for <subject>+', 'agent/<name>, task/<id>, sandbox/<name>, node/<id>'],
      ['--method <method>', 'of the request (default: only what is known of a tunnel)'],
    ],
    examples: ['manyhands policy explain https://api.github.com/user --for agent/ci --method GET'],
    run: async (context, [url = ''], flags) => (await policy()).explain(context, url, flags),
  },
  'service expose': {
    usage: 'expose <name>',
    about: "let named guests reach a service of this node's network by name",
    options: [
      ['!--to <target>', 'tcp:<host>:<port>'],
      ['!--grant <subject>+', 'any, agent/<name>, task/<id>, sandbox/<name>, node/<id>'],
    ],
    examples: ['manyhands service expose pg --to tcp:127.0.0.1:5432 --grant agent/report'],
    run: async (context, [name = ''], flags) =>
      (await service()).expose(context, name, { to: '', grant: [], ...flags }),
  },
  'service ls': {
    usage: 'ls',
    about: 'services that this node exposes, and to whom',
    run: async (context) => (await service()).list(context),
  },
  'service rm': {
    usage: 'rm <name>',
    about: 'expose it no more; its connections end',
    run: async (context, [name = '']) => (await service()).remove(context, name),
  },
  'egress log': {
    usage: 'log',
    about: 'every decision of the door',
    stream: true,
    options: [['-f, --follow', 'go on as they are made']],
    run: async (context, _, flags) => (await import('./commands/egress.ts')).log(context, flags),
  },
}

export const SANDBOX_GROUPS: Readonly<Record<string, string>> = {
  sandbox: 'Linux environments',
  image: 'images that sandboxes are made from',
  secret: 'credentials that guests use and never see',
  policy: 'what guests may reach',
  service: "services of this node's network, for named guests",
  egress: 'the door to the outside',
}
