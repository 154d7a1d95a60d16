/** Images on a real engine: pulled from a registry on this host, imported from tars, and refused. */
import { existsSync } from 'node:fs'
import { arch } from 'node:os'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { buildDebianRoot, DEBIAN_PACKAGES, debootstrapArguments } from '../../daemon/exec/sandbox/images/debian-root.ts'
import type { ImageProgress } from '../../daemon/exec/sandbox/sandbox.ts'
import { busyboxRoot, findTestEngine } from '../support/docker-engine.ts'
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

describe('the default image', () => {
  it('is made by a fixed list of arguments', () => {
    const args = debootstrapArguments('/root', 'http://mirror')
    expect(args).toEqual(debootstrapArguments('/root', 'http://mirror'))
    expect(args.slice(-3)).toEqual(['bookworm', '/root', 'http://mirror'])
    for (const name of ['git', 'curl', 'ca-certificates', 'python3', 'nodejs', 'npm'])
      expect(DEBIAN_PACKAGES).toContain(name)
  })

  it.skipIf(process.geteuid?.() === 0 && existsSync('/usr/sbin/debootstrap'))('says what it lacks', async () => {
    await expect(buildDebianRoot('/nowhere')).rejects.toMatchObject({ code: 'E_IMAGE' })
  })
})
