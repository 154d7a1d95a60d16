/** What a sandbox lives through, on a real engine: sleep, snapshots, forks, moves, and restarts of the daemon and of the engine. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { helperAgent } from '../../daemon/exec/sandbox/guest-agent.ts'
import { SANDBOX_BOUNDS } from '../../daemon/exec/sandbox/limits.ts'
import { SANDBOX_RECORDS } from '../../daemon/exec/sandbox/records.ts'
import type { Sandbox, SandboxState } from '../../daemon/exec/sandbox/sandbox.ts'
import { openLevelJournal } from '../../daemon/journal/level-journal.ts'
import { ask, busyboxRoot, endEngine, findTestEngine, startEngine, stopEngine } from '../support/docker-engine.ts'
import { engineProxy } from '../support/engine-proxy.ts'
import { boxesIn, journalPlace, replaceCp, type SandboxKit, SPEC, sandboxKit, sh } from '../support/sandbox-kit.ts'

const { engine } = await findTestEngine()
const root = process.geteuid?.() === 0
afterAll(() => engine?.close())

let kits: SandboxKit[] = []
const kit = (): SandboxKit => {
  const made = sandboxKit(engine?.socket ?? '')
  kits.push(made)
  return made
}
afterEach(async () => {
  const used = kits
  kits = []
  for (const one of used) await one.close()
  // gVisor may take long to end on a busy host
}, 90_000)

const mounts = (folder: string): number => readFileSync('/proc/self/mountinfo', 'utf8').split(folder).length - 1

async function until(check: () => boolean | Promise<boolean>, what: string, ms = 15_000): Promise<void> {
  const end = performance.now() + ms
  while (!(await check())) {
    if (performance.now() > end) throw new Error(`Waited in vain for ${what}`)
    await wait(50)
  }
}

describe.skipIf(!engine)('a sandbox', () => {
  it('is made from the pool when one is ready, and each is given away once', async () => {
    const executor = await kit().open({ warm: { each: 1, kinds: 1 } })
    await executor.warm(SPEC)
    const [a, b] = await Promise.all([executor.create(SPEC), executor.create({ ...SPEC, owner: 'you' })])
    expect(a.id).not.toBe(b.id)
    expect(a.view()).toMatchObject({ owner: 'me', state: 'running', grade: 'jailed' })
    expect((await sh(b, 'id -u')).out.trim()).toBe('10001')
  })

  it('has a shell of its image as the agent where the helper is not made for the processor', async () => {
    const at = kit()
    const agent = helperAgent(join(at.folder, '.agents'), async () => undefined)
    const executor = await at.open({ agent })
    const box = await executor.create(SPEC)
    const ran = await sh(box, 'echo kept > /workspace/a; echo told >&2; exit 3')
    expect([ran.err, ran.end]).toEqual(['told\n', { kind: 'exit', code: 3 }])
    const file = await (await box.guest()).files.read('/workspace/a')
    expect(Buffer.from(file).toString()).toBe('kept\n')
    if (root) await box.sleep()
    expect((await sh(box, 'cat /workspace/a; cat /proc/1/comm')).out).toMatch(/^kept\n(docker-init|tini)\n$/)
  })

  it.runIf(root)('keeps its files and wakes by itself from pause and from stop', async () => {
    const executor = await kit().open()
    const box = await executor.create({ ...SPEC, sleepAfterMs: 200 })
    const states: (SandboxState | 'removed')[] = []
    box.onChange((state) => states.push(state))
    await sh(box, 'echo kept > /workspace/a; echo home > ~/b; echo gone > /tmp/c; sleep 600 &')
    const busy = sh(box, 'sleep 0.5; echo done')
    expect((await busy).out.trim()).toBe('done')
    expect(states).toEqual([])
    await until(() => box.view().state === 'paused', 'pause')
    await until(() => box.view().state === 'stopped', 'stop')
    const { out } = await sh(box, 'cat /workspace/a ~/b; ls /tmp; pgrep sleep || echo ended')
    expect(out.split('\n').filter(Boolean)).toEqual(['kept', 'home', 'ended'])
    expect(states).toEqual(['paused', 'stopped', 'running'])
    await box.sleep('pause')
    expect((await sh(box, 'cat /workspace/a')).out).toBe('kept\n')
    await box.remove()
    expect(states.slice(3)).toEqual(['paused', 'running', 'removed'])
    await expect(box.guest()).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  })

  it.runIf(root)('goes back to snapshots and is copied with everything in it', async () => {
    const at = kit()
    const executor = await at.open()
    const box = await executor.create({ ...SPEC, name: 'one' })
    await sh(box, 'for i in $(seq 200); do echo $i > f$i; done; head -c 3000000 /dev/zero > big; ln -s f1 link')
    const taken = await box.snapshot('first')
    expect(taken.bytes).toBeGreaterThan(0)
    await expect(box.snapshot('first')).rejects.toMatchObject({ code: 'E_CONFLICT' })
    await sh(box, 'rm -rf f*; echo later > later; sleep 600 &')
    const fork = await box.fork({ name: 'two' })
    expect((await sh(fork, 'ls')).out.split('\n').filter(Boolean)).toEqual(['big', 'later', 'link'])
    await box.restore('first')
    expect((await sh(box, 'ls | wc -l; cat f77; readlink link; ls later; pgrep sleep')).out).toBe('202\n77\nf1\n')
    expect((await sh(fork, 'ls | wc -l')).out.trim()).toBe('3')
    const old = await box.fork({ name: 'three', from: 'first' })
    expect((await sh(old, 'ls | wc -l')).out.trim()).toBe('202')
    await expect(executor.create({ ...SPEC, name: 'one' })).rejects.toMatchObject({ code: 'E_CONFLICT' })
    await expect(box.restore('none')).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    await box.removeSnapshot('first')
    for (const one of executor.list()) await one.remove()
    expect(await at.containers()).toEqual([])
    expect(mounts(at.folder)).toBe(0)
    expect(readdirSync(at.folder).filter((name) => !name.startsWith('.'))).toEqual([])
  })

  it.runIf(root)(
    'does the same where the folder of all is reached by a symbolic link, and leaves no mount behind',
    async () => {
      const at = kit()
      const real = join(at.folder, 'real disks')
      mkdirSync(real)
      symlinkSync(real, join(at.folder, 'link'))
      const executor = await at.open({ folder: join(at.folder, 'link') })
      const box = await executor.create(SPEC)
      await sh(box, 'echo kept > a')
      await box.snapshot('first')
      await sh(box, 'rm a')
      for (let turn = 0; turn < 2; turn++) {
        await box.sleep('stop')
        expect(mounts(join(real.replaceAll(' ', '\\040'), box.id))).toBe(0)
        await box.wake()
        expect(mounts(join(real.replaceAll(' ', '\\040'), box.id))).toBe(1)
      }
      await box.restore('first')
      expect((await sh(box, 'cat a')).out).toBe('kept\n')
      await box.remove()
      expect(mounts(at.folder)).toBe(0)
      expect(readdirSync(real).filter((name) => !name.startsWith('.'))).toEqual([])
    },
  )

  it.runIf(root)('leaves nothing of a snapshot or copy that failed', async () => {
    const at = kit()
    const executor = await at.open()
    const box = await executor.create(SPEC)
    await sh(box, 'echo kept > a')
    const takeBack = replaceCp(join(at.folder, '.bin'), 'head -c 1000000 "$3" > "$4"; exit 1')
    try {
      await expect(box.snapshot('first')).rejects.toMatchObject({ code: 'E_ENGINE' })
      await expect(box.fork()).rejects.toMatchObject({ code: 'E_ENGINE' })
    } finally {
      takeBack()
    }
    expect(readdirSync(join(at.folder, box.id))).toEqual(['d1'])
    expect(readdirSync(at.folder).filter((name) => !name.startsWith('.'))).toEqual([box.id])
    await box.snapshot('first')
    await box.restore('first')
    expect((await sh(box, 'cat a')).out).toBe('kept\n')
  })

  it.runIf(root)('moves to another node as one stream', async () => {
    const [here, there] = [await kit().open(), await kit().open()]
    const box = await here.create({ ...SPEC, name: 'moving', env: { A: 'b' } })
    await sh(box, 'mkdir -p d/e; echo x > d/e/f; chmod 751 d/e/f; ln -s /etc/passwd d/l; mkfifo d/p; echo h > ~/.rc')
    const moved = await there.import(box.exportContent(), { owner: 'them', name: 'moved' })
    const { out } = await sh(moved, 'cat d/e/f ~/.rc; stat -c "%a %u" d/e/f; readlink d/l; ls d')
    expect(out).toBe('x\nh\n751 10001\n/etc/passwd\ne\nl\n')
    expect(moved.view()).toMatchObject({ owner: 'them', name: 'moved', env: { A: 'b' }, limits: box.view().limits })
    const cut = async function* () {
      let bytes = 0
      for await (const part of box.exportContent()) {
        yield part
        bytes += part.length
        if (bytes > 2_000) return
      }
    }
    await expect(there.import(cut(), { owner: 'them' })).rejects.toMatchObject({ code: 'E_PROTOCOL' })
    expect(there.list()).toHaveLength(1)
  })

  it.runIf(root && engine?.runtimes.includes('runsc') === true)(
    'of profile build keeps what changed on its root, in snapshots too, under gVisor',
    async () => {
      const executor = await kit().open()
      await expect(executor.create({ ...SPEC, profile: 'build', grade: 'microvm' })).rejects.toMatchObject({
        code: 'E_GRADE',
      })
      const box = await executor.create({ ...SPEC, profile: 'build', grade: 'gvisor' })
      expect(box.view()).toMatchObject({ grade: 'gvisor', runtime: 'runsc' })
      expect((await sh(box, 'id -u; echo tool > /usr/bin/tool; echo w > /workspace/w')).out.trim()).toBe('0')
      await box.snapshot('with-tool')
      await sh(box, 'rm /usr/bin/tool /workspace/w')
      await box.restore('with-tool')
      expect((await sh(box, 'cat /usr/bin/tool /workspace/w')).out).toBe('tool\nw\n')
      await box.sleep('stop')
      expect((await sh(box, 'cat /usr/bin/tool')).out).toBe('tool\n')
    },
    60_000,
  )
})

describe.skipIf(!engine || !root)('when the daemon goes', () => {
  it('its sandboxes stay, with everything in them', async () => {
    const at = kit()
    const first = await at.open()
    const { id } = await first.create(SPEC)
    await sh(first.get(id) as Sandbox, 'echo kept > a')
    await first.close()
    const second = await at.open()
    expect(second.get(id)?.view().state).toBe('stopped')
    expect((await sh(second.get(id) as Sandbox, 'cat a')).out).toBe('kept\n')
  })

  /** @returns the id of its sandbox */
  const crashed = async ({ nodeId, folder }: SandboxKit, state = 'running'): Promise<string> => {
    const script = fileURLToPath(new URL('../support/sandbox-crasher.ts', import.meta.url))
    const child = spawn(process.execPath, [script, engine?.socket ?? '', nodeId, folder, state], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const [first] = (await once(child.stdout, 'data')) as [Buffer]
    child.kill('SIGKILL')
    await once(child, 'exit')
    return first.toString().trim()
  }

  it('SBX-27: after a crash what is known is taken up as it runs, and what nobody owns is removed within 10 s', async () => {
    const at = kit()
    const { folder } = at
    const id = await crashed(at)
    expect(await at.containers()).toHaveLength(2)

    const journal = await openLevelJournal({ ...journalPlace(folder), types: SANDBOX_RECORDS })
    const start = performance.now()
    const next = await at.open({ journal, folder: boxesIn(folder) })
    await until(async () => (await at.containers()).length === 1, 'the orphan to go', 10_000)
    expect(performance.now() - start).toBeLessThan(10_000)
    const taken = next.get(id)
    expect(taken?.view().state).toBe('running')
    expect((await sh(taken as Sandbox, 'cat a')).out).toBe('kept\n')
    const background = await (await (taken as Sandbox).guest()).processes()
    expect(background).toMatchObject([{ name: 'server', running: true }])
    const agents = join(boxesIn(folder), '.agents')
    await until(() => readdirSync(agents).filter((name) => !name.startsWith('.')).length === 1, 'its files to go')
    await taken?.remove()
    await next.close()
    await journal.close()
  })

  it('SBX-27: what stood still at a crash is taken up so, and goes on when it is used', async () => {
    const at = kit()
    const id = await crashed(at, 'paused')
    const journal = await openLevelJournal({ ...journalPlace(at.folder), types: SANDBOX_RECORDS })
    const next = await at.open({ journal, folder: boxesIn(at.folder) })
    const taken = next.get(id) as Sandbox
    await until(() => taken.view().state === 'paused', 'its state to be seen')
    expect((await sh(taken, 'cat a')).out).toBe('kept\n')
    expect(await (await taken.guest()).processes()).toMatchObject([{ name: 'server', running: true }])
    await taken.sleep('pause')
    await taken.sleep('stop')
    expect((await sh(taken, 'cat a')).out).toBe('kept\n')
    await taken.remove()
    await next.close()
    await journal.close()
  })

  it('SBX-27: killed in the middle of a snapshot, it leaves a disk that can be written to after its next start, and a sandbox that can be removed', async () => {
    const at = kit()
    const id = await crashed(at, 'copying')
    const copy = Number(readFileSync(join(at.folder, '.bin', 'pid'), 'utf8'))
    const journal = await openLevelJournal({ ...journalPlace(at.folder), types: SANDBOX_RECORDS })
    try {
      const next = await at.open({ journal, folder: boxesIn(at.folder) })
      const taken = next.get(id) as Sandbox
      const ran = await sh(taken, 'cat a; echo later > b; sync; cat b', 5_000)
      expect([ran.out, ran.end]).toEqual(['kept\nlater\n', { kind: 'exit', code: 0 }])
      await taken.remove()
      await next.close()
    } finally {
      process.kill(copy)
      const disk = join(boxesIn(at.folder), id, 'd1', 'mnt')
      if (existsSync(join(disk, 'workspace'))) spawnSync('fsfreeze', ['-u', disk])
    }
    await journal.close()
  })

  it('SBX-27: a snapshot taken while what a crash left is being removed is not taken for a part of that', async () => {
    const at = kit()
    const id = await crashed(at, 'copying')
    process.kill(Number(readFileSync(join(at.folder, '.bin', 'pid'), 'utf8')))
    const journal = await openLevelJournal({ ...journalPlace(at.folder), types: SANDBOX_RECORDS })
    const takeBack = replaceCp(join(at.folder, '.slow'), 'sleep 0.5; exec /bin/cp "$@"')
    try {
      const next = await at.open({ journal, folder: boxesIn(at.folder) })
      const taken = next.get(id) as Sandbox
      await until(() => taken.view().state === 'paused', 'its state to be seen')
      // It gets the name of the copy that was not finished.
      await taken.snapshot('first')
      await taken.snapshot('second')
      await taken.restore('first')
      expect((await sh(taken, 'cat a')).out).toBe('kept\n')
      await taken.remove()
      await next.close()
    } finally {
      takeBack()
    }
    await journal.close()
  })

  it('one that stands still, which the engine need not know, is ended by whoever asks the engine to', async () => {
    const at = kit()
    const executor = await at.open()
    for (const [method, path] of [
      ['POST', '/stop?t=1'],
      ['DELETE', '?force=1'],
    ] as const) {
      const box = await executor.create(SPEC)
      await sh(box, 'echo kept > a; sync')
      await box.sleep('pause')
      const [container] = await at.containers()
      await ask(engine?.socket ?? '', method, `/containers/${container}${path}`)
      await until(() => box.view().state === 'stopped', 'the end to be seen')
      expect((await sh(box, 'cat a')).out).toBe('kept\n')
      await box.remove()
    }
  })

  it('a container that somebody removed is made again when nothing was in it', async () => {
    const at = kit()
    const executor = await at.open()
    const box = await executor.create(SPEC)
    await sh(box, 'echo kept > a')
    for (const id of await at.containers()) await ask(engine?.socket ?? '', 'DELETE', `/containers/${id}?force=1`)
    await until(() => box.view().state === 'stopped', 'the end to be seen')
    expect((await sh(box, 'cat a')).out).toBe('kept\n')
  })
})

describe.skipIf(!engine || !root || !existsSync('/usr/sbin/dockerd'))('when the engine goes', () => {
  it('F05: commands end typed, new ones are refused, and all is there again when it is back', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mh-engine-'))
    try {
      await startEngine(folder)
      const socket = join(folder, 'docker.sock')
      const at = sandboxKit(socket)
      kits.push(at)
      const executor = await at.open()
      const changes: (string | undefined)[] = []
      executor.onEngine((info) => changes.push(info?.version))
      await importTestImage(executor.images)
      const box = await executor.create(SPEC)
      await sh(box, 'echo kept > a; sync')
      const running = sh(box, 'sleep 60', 60_000)
      await stopEngine(folder)
      expect(['engine-lost', 'sandbox-lost']).toContain((await running).end.kind)
      await until(() => executor.info() === undefined, 'the loss to be seen')
      await expect(box.guest()).rejects.toMatchObject({ code: 'E_ENGINE_LOST' })
      await expect(executor.create(SPEC)).rejects.toMatchObject({ code: 'E_ENGINE_LOST' })
      await startEngine(folder)
      await until(() => executor.info() !== undefined, 'the engine to be found')
      expect((await sh(box, 'cat a')).out).toBe('kept\n')
      expect(changes).toEqual([undefined, expect.any(String)])
      await at.close()
    } finally {
      await endEngine(folder)
    }
  }, 90_000)

  it('silent for a while, it loses nothing: what it did not start or remove is gone once it answers', async () => {
    const at = kit()
    const socket = join(at.folder, '.engine')
    const proxy = await engineProxy(engine?.socket ?? '', socket)
    // What the engine is asked fails as late as soon as it was kept from it
    const { timeout } = AbortSignal
    let last = new AbortController()
    vi.spyOn(AbortSignal, 'timeout').mockImplementation((ms) => {
      if (ms !== SANDBOX_BOUNDS.engineCallMs) return timeout(ms)
      last = new AbortController()
      return last.signal
    })
    try {
      const executor = await at.open({ engine: `unix://${socket}` })
      const box = await executor.create(SPEC)
      proxy.hold(/^(POST \S+\/start|DELETE) /, () => last.abort(new DOMException('late', 'TimeoutError')))
      await expect(executor.create(SPEC)).rejects.toMatchObject({ code: 'E_ENGINE_LOST' })
      await box.remove()
      expect([executor.list(), (await at.containers()).length]).toEqual([[], 2])
      proxy.letThrough()
      const left = (): string[] => readdirSync(at.folder).filter((name) => !name.startsWith('.'))
      await until(async () => (await at.containers()).length === 0 && left().length === 0, 'nothing to be left')
      expect(mounts(at.folder)).toBe(0)
    } finally {
      vi.restoreAllMocks()
      await at.close()
      await proxy.close()
    }
  }, 60_000)

  it('a node without an engine serves on, and says so', async () => {
    const at = kit()
    const executor = await at.open({ engine: 'unix:///nowhere/docker.sock' })
    expect([executor.info(), executor.grades(), executor.list()]).toEqual([undefined, [], []])
    await expect(executor.create(SPEC)).rejects.toMatchObject({ code: 'E_NO_ENGINE' })
    await executor.close()
  })
})

async function importTestImage(images: { import(tar: AsyncIterable<Uint8Array>, name: string): Promise<unknown> }) {
  const tar = await busyboxRoot()
  await images.import(
    (async function* () {
      for (let at = 0; at < tar.length; at += 65_536) yield tar.subarray(at, at + 65_536)
    })(),
    SPEC.image,
  )
}
