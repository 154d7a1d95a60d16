/** Images on a real engine: pulled from a registry on this host, imported from tars, and refused. */
import { spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { arch, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { aptCalls, buildDebianRoot, debootstrapArguments } from '../../daemon/exec/sandbox/images/debian-root.ts'
import type { ImageProgress } from '../../daemon/exec/sandbox/sandbox.ts'
import { ask, busyboxRoot, findTestEngine } from '../support/docker-engine.ts'
import { type SandboxKit, SPEC, sandboxKit, sh } from '../support/sandbox-kit.ts'
import { tinyRegistry } from '../support/tiny-registry.ts'

const { engine } = await findTestEngine()
afterAll(() => engine?.close())
let kits: SandboxKit[] = []
afterEach(async () => {
  for (const kit of kits) await kit.close()
  kits = []
})
async function open() {
  const kit = sandboxKit(engine?.socket ?? '')
  kits.push(kit)
  return kit.open()
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += 50_000) yield bytes.subarray(at, at + 50_000)
}

describe.skipIf(!engine)('images', () => {
  it.runIf(arch() === 'x64')('are pulled with progress, by name, and used by digest', async () => {
    const registry = await tinyRegistry(await busyboxRoot(['echo pulled > etc/origin']))
    try {
      const executor = await open()
      const steps: ImageProgress[] = []
      const pulled = await executor.images.pull(registry.image, { progress: (step) => steps.push(step) })
      expect(pulled.names).toContain(registry.image)
      expect(steps.some(({ step, item }) => step.includes('pull') && item !== undefined)).toBe(true)
      const box = await executor.create({ ...SPEC, image: pulled.digest })
      expect((await sh(box, 'cat /etc/origin')).out).toBe('pulled\n')
      expect(box.view().image.digest).toBe(pulled.digest)
      await box.remove()
      await executor.images.remove(registry.image)
      await expect(executor.images.resolve(registry.image)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    } finally {
      await registry.close()
    }
    const executor = await open()
    await expect(executor.images.pull(registry.image)).rejects.toMatchObject({ code: 'E_ENGINE' })
  })

  it('are imported from a root file system, and what is none is refused', async () => {
    const executor = await open()
    const name = 'manyhands-test/imported:1'
    const steps: ImageProgress[] = []
    const tar = await busyboxRoot(['echo imported > etc/origin'])
    const image = await executor.images.import(pieces(tar), name, { progress: (step) => steps.push(step) })
    expect((await executor.images.list()).find(({ digest }) => digest === image.digest)?.names).toContain(name)
    expect(steps.at(-1)?.doneBytes ?? tar.length).toBe(tar.length)
    await executor.images.remove(name)
    const bad = executor.images.import(pieces(Buffer.alloc(4_096, 'x')), 'manyhands-test/bad:1')
    await expect(bad).rejects.toThrow(/^Cannot import the image/)
    await expect(executor.images.import(pieces(Buffer.alloc(3)), 'a:1')).rejects.toMatchObject({ code: 'E_IMAGE' })
    await expect(executor.images.import(pieces(tar), '-x')).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
  })
})

describe.skipIf(!engine)('SBX-29: an image for whoever may bring new ones only', () => {
  const name = 'manyhands-test/new:1'
  const saved = async (): Promise<Uint8Array> => {
    const { bytes } = await ask(engine?.socket ?? '', 'GET', `/images/${encodeURIComponent(SPEC.image)}/get`)
    return bytes
  }

  it('gets its name when that is free, and takes none from another', async () => {
    const executor = await open()
    const { images } = executor
    // Of a size that no other image of this engine has
    const tar = await busyboxRoot([`head -c ${randomInt(1 << 20)} /dev/zero > etc/size`])
    const image = await images.import(pieces(tar), name, { onlyNew: true })
    expect(image.names).toEqual([name])
    for (const taken of [name, SPEC.image]) {
      const { digest } = await images.resolve(taken)
      const refused = { code: 'E_CONFLICT' }
      await expect(images.import(pieces(tar), taken, { onlyNew: true })).rejects.toMatchObject(refused)
      await expect(images.pull(taken, { onlyNew: true })).rejects.toMatchObject(refused)
      await expect(images.buildDefault(taken, { onlyNew: true })).rejects.toMatchObject(refused)
      expect((await images.resolve(taken)).digest).toBe(digest)
    }
    await images.remove(name)

    // The name is taken while the content is on its way
    const late = async function* (): AsyncGenerator<Uint8Array, void> {
      yield* pieces(tar)
      await images.import(pieces(tar), name)
    }
    await expect(images.import(late(), name, { onlyNew: true })).rejects.toMatchObject({ code: 'E_CONFLICT' })
    const whole = (await images.list()).filter(({ bytes }) => bytes === image.bytes)
    expect(whole.map(({ names }) => names)).toEqual([[name]])
    await images.remove(name)
  })

  it('is no archive of images, whose names are not to be chosen here', async () => {
    const { images } = await open()
    const archive = await saved()
    await expect(images.import(pieces(archive), name, { onlyNew: true })).rejects.toMatchObject({ code: 'E_IMAGE' })
    await expect(images.resolve(name)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    expect((await images.import(pieces(archive), name)).names).toContain(name)
    await images.remove(name)
  })
})

describe('the default image', () => {
  it('is made by a fixed list of arguments', () => {
    const args = debootstrapArguments('/root', 'http://mirror')
    expect(args).toEqual(debootstrapArguments('/root', 'http://mirror'))
    expect(args.slice(-3)).toEqual(['bookworm', '/root', 'http://mirror'])
    const calls = aptCalls()
    expect(calls.every((call) => call[0] === 'apt-get' && call.includes('--no-install-recommends'))).toBe(true)
    for (const name of ['git', 'curl', 'ca-certificates', 'procps', 'python3', 'python3-pip', 'nodejs', 'npm'])
      expect(calls.at(-1)).toContain(name)
  })

  it.runIf(process.geteuid?.() === 0 && existsSync('/usr/sbin/debootstrap'))(
    'tells why it could not be made, leaves nothing, and names no path of the host',
    async () => {
      const scratch = mkdtempSync(join(tmpdir(), 'mh-build-'))
      try {
        const steps: ImageProgress[] = []
        const options = { progress: (step: ImageProgress) => void steps.push(step) }
        const failed = await buildDebianRoot(scratch, options, 'http://127.0.0.1:1/debian').then(
          () => 'made',
          (error: unknown) => String(error),
        )
        expect(failed).toMatch(/^MeshError: Cannot build the image: it ended with 1: E: /)
        expect(steps.length).toBeGreaterThan(0)
        expect(`${failed}${JSON.stringify(steps)}`).not.toContain(scratch)
        const canceled = buildDebianRoot(scratch, { signal: AbortSignal.abort() })
        await expect(canceled).rejects.toMatchObject({ code: 'E_CANCELED' })
        expect(readdirSync(scratch)).toEqual([])
      } finally {
        rmSync(scratch, { recursive: true, force: true })
      }
    },
  )

  it.runIf(process.geteuid?.() === 0 && existsSync('/usr/sbin/debootstrap') && existsSync('/usr/share/keyrings'))(
    'is not made of what nobody signed, where the keys to see that are missing',
    () => {
      const scratch = mkdtempSync(join(tmpdir(), 'mh-build-'))
      try {
        const script = 'mount -t tmpfs none /usr/share/keyrings && exec debootstrap "$@"'
        const args = debootstrapArguments(join(scratch, 'root'), 'http://127.0.0.1:1/debian')
        const { status, stdout, stderr } = spawnSync('unshare', ['--mount', 'sh', '-c', script, 'sh', ...args])
        expect(status).toBe(1)
        expect(`${stdout.toString()}${stderr.toString()}`).toMatch(/Keyring-based check was requested/)
      } finally {
        rmSync(scratch, { recursive: true, force: true })
      }
    },
  )

  it.skipIf(process.geteuid?.() === 0 && existsSync('/usr/sbin/debootstrap'))('says what it lacks', async () => {
    await expect(buildDebianRoot('/nowhere')).rejects.toMatchObject({ code: 'E_IMAGE' })
  })
})
