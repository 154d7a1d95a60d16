/**
 * A sandbox from its making to its end, on the nearest node that has a container engine: commands, files, a server inside, snapshots, code with state, and a
 * request that leaves with a credential the guest never sees. Needs a running node (`manyhands up`) and an image with curl and Python, such as the default one.
 * Exits 0 only if all of it holds, and removes everything it made.
 *
 *   node examples/sandbox/main.ts [image]
 */
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import { connect, ManyhandsError, type Mesh, type Sandbox } from '@manyhands/sdk'

const NAME = `example-${randomBytes(3).toString('hex')}`
const KEY = `key-${randomBytes(12).toString('hex')}`

const say = (text: string): void => console.log(text)

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`It does not hold that ${what}`)
}

async function main(image: string | undefined): Promise<void> {
  await using mesh = await connect()
  const startedAt = performance.now()
  await using box = await mesh.sandbox({ name: NAME, image, limits: { memoryBytes: 256 << 20, diskBytes: 256 << 20 } })
  const { nodeName, grade } = box.view
  say(`1. ${NAME} runs on ${nodeName}, isolated as ${grade} (${Math.round(performance.now() - startedAt)} ms)`)
  await commands(box)
  await server(box)
  await snapshots(box)
  await code(box)
  await wayOut(mesh, box)
}

async function commands(box: Sandbox): Promise<void> {
  await box.files.write('count.sh', 'for i in 1 2 3; do echo "line $i"; sleep 0.1; done; exit 7\n')
  const pieces: string[] = []
  const ran = await box.exec(['sh', 'count.sh'], { stream: ({ bytes }) => void pieces.push(bytes.toString()) })
  must(ran.exitCode === 7 && pieces.length > 1, 'output comes while the command runs, and its exit code after')
  say(`2. A script of ours ran inside: ${pieces.length} pieces of output as they came, exit code ${ran.exitCode}`)
}

async function server(box: Sandbox): Promise<void> {
  await box.files.write('site/index.html', 'hello from inside\n')
  const process = await box.start(['python3', '-m', 'http.server', '8000', '--bind', '127.0.0.1', '-d', 'site'])
  await box.waitForPort(8000)
  await using open = await box.port(8000)
  const text = await (await fetch(open.url)).text()
  must(text === 'hello from inside\n', 'the server inside answers here')
  await process.kill()
  say(`3. A server inside answered at ${open.url} of this host`)
}

async function snapshots(box: Sandbox): Promise<void> {
  await box.snapshot('good')
  await box.exec(['rm', '-r', 'site'])
  await box.restore('good')
  must((await box.files.readText('site/index.html')) === 'hello from inside\n', 'a snapshot brings files back')
  say('4. What was removed is back from a snapshot')
}

async function code(box: Sandbox): Promise<void> {
  await box.runCode('python', 'words = open("site/index.html").read().split()')
  const { results } = await box.runCode('python', '{word: len(word) for word in words}')
  // The richest form comes first
  const [result] = results
  must(result?.data === '{"hello": 5, "from": 4, "inside": 6}', 'code keeps its state and gives a result')
  say(`5. Python kept its variables between two calls: ${result?.data}`)
}

/** A server of this host stands for any that wants a key. The guest has no network but the node's door, which knows rules and keys. */
async function wayOut(mesh: Mesh, box: Sandbox): Promise<void> {
  const api = createServer((request, response) => {
    response.end(request.headers['x-key'] === KEY ? 'let in\n' : 'who are you?\n')
  })
  await new Promise<void>((resolve) => void api.listen(0, '127.0.0.1', resolve))
  const address = api.address()
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0
  const ask = async (): Promise<string> => (await box.exec(['curl', '-s', `http://${NAME}.service.manyhands/`])).stdout
  try {
    await mesh.services.expose({ name: NAME, target: `tcp:127.0.0.1:${port}`, grants: [`sandbox/${NAME}`] })
    must((await ask()) === 'who are you?\n', 'a service is reached by its name')
    await mesh.secrets.set(NAME, KEY)
    const rule = await mesh.policy.allow({
      for: [`sandbox/${NAME}`],
      host: `${NAME}.service.manyhands`,
      inject: [{ header: 'x-key', secret: NAME }],
      plain: true,
    })
    must((await ask()) === 'let in\n', 'the key is put in on the way')
    const { stdout } = await box.exec(['sh', '-c', 'env; cat /proc/*/environ /proc/*/cmdline'])
    must(!stdout.includes(KEY), 'the key is not inside')
    await mesh.policy.remove(rule.id)
    say('6. A request left with a key that is nowhere inside')
  } finally {
    await mesh.services.remove(NAME)
    await mesh.secrets.remove(NAME)
    api.close()
  }
}

try {
  await main(process.argv[2])
} catch (error) {
  // What the mesh says is told as it is: no node, no engine, no such image. Anything else is a fault of this program.
  if (!(error instanceof ManyhandsError)) throw error
  console.error(`${error.message} [${error.code}]${error.hint === undefined ? '' : `\nhint: ${error.hint}`}`)
  process.exitCode = 1
}
