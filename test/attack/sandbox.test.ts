/** What a hostile guest or image tries against its limits and its host, on a real engine: with plain containers, and with gVisor where it works. */
import { readFileSync, statfsSync } from 'node:fs'
import { arch } from 'node:os'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Sandbox, SandboxSpec } from '../../daemon/exec/sandbox/sandbox.ts'
import type { DockerSandboxExecutor } from '../../daemon/exec/sandbox/sandbox-executor.ts'
import { ask, busyboxRoot, findTestEngine, importRoot } from '../support/docker-engine.ts'
import { type SandboxKit, SMALL, SPEC, sandboxKit, sh } from '../support/sandbox-kit.ts'
import { syscallProbe } from '../support/syscall-probe.ts'

const { engine } = await findTestEngine()
const socket = engine?.socket ?? ''
const root = process.geteuid?.() === 0
const gvisor = engine?.runtimes.includes('runsc') === true

let kit: SandboxKit
let executor: DockerSandboxExecutor
beforeAll(async () => {
  if (!engine) return
  kit = sandboxKit(socket)
  executor = await kit.open()
})
afterEach(async () => {
  for (const sandbox of executor?.list() ?? []) await sandbox.remove()
})
afterAll(async () => {
  await kit?.close()
  await engine?.close()
})

const make = (change: Partial<SandboxSpec> = {}): Promise<Sandbox> => executor.create({ ...SPEC, ...change })
const processes = (): number => Number(readFileSync('/proc/loadavg', 'utf8').split('/')[1]?.split(' ')[0])
const MIB = 1 << 20

async function ended(sandbox: Sandbox, ms = 15_000): Promise<void> {
  const end = performance.now() + ms
  while (sandbox.view().state === 'running' && performance.now() < end) await new Promise((go) => setTimeout(go, 50))
}

describe.skipIf(!engine)('a hostile guest', () => {
  it('SBX-01: a fork bomb meets its limit, the host does not feel it, and the end says so', async () => {
    const box = await make({ limits: { ...SMALL, pids: 128 } })
    const before = processes()
    const bomb = sh(box, 'i=0; while [ $i -lt 600 ]; do sleep 30 & i=$((i+1)); done; wait', 15_000)
    await new Promise((go) => setTimeout(go, 1_500))
    expect(processes() - before).toBeLessThan(300)
    expect((await bomb).end.kind).toBe('pids')
    expect((await box.evidence())?.pidsRefused).toBeGreaterThan(0)
    // What is left of it can be cleared, and the sandbox goes on.
    await (await box.guest()).killAll()
    expect((await sh(box, 'echo fine')).out).toBe('fine\n')
  })

  it('SBX-02: more memory than its limit ends what took it, also by way of /tmp', async () => {
    const box = await make({ limits: { ...SMALL, memoryBytes: 64 * MIB, tmpBytes: 1024 * MIB } })
    const eaten = await sh(box, 'x=a; while :; do x=$x$x; done')
    expect(eaten.end.kind).toBe('memory')
    await ended(box, 500)
    const filled = await sh(box, 'exec dd if=/dev/zero of=/tmp/f bs=1M count=300')
    expect(['memory', 'sandbox-lost']).toContain(filled.end.kind)
    await ended(box, 500)
    expect((await sh(box, 'rm -f /tmp/f; echo fine')).out).toBe('fine\n')
  })

  it.runIf(arch() === 'x64')('SBX-05: so are system calls for which no tool is there', async () => {
    const box = await make()
    const calls = { mount: 165, unshare: 272, setns: 308, keyctl: 250, bpf: 321, kexec: 246, module: 175, swapon: 167 }
    const ring = { ringSetup: 425, ringEnter: 426, ringRegister: 427 }
    const more = { ...ring, perf: 298, userfaultfd: 323, openByHandle: 304, pivotRoot: 155, settime: 164, reboot: 169 }
    const guest = await box.guest()
    const results: Record<string, string> = {}
    for (const [name, number] of Object.entries({ ...calls, ...more, getpid: 39 })) {
      await guest.files.write(`/workspace/${name}`, syscallProbe(number), { mode: 0o755 })
      const { end } = await sh(box, `/workspace/${name}`)
      // EPERM, or no such call in this kernel
      results[name] = end.kind === 'exit' ? String(end.code) : end.kind
    }
    const { getpid, unshare, ...refused } = results
    // The probe itself works, and unsharing nothing is no harm.
    expect([getpid, unshare === '0' || unshare === '1']).toEqual(['0', true])
    expect(Object.entries(refused).filter(([, code]) => code !== '1' && code !== '38')).toEqual([])
    expect((await sh(box, 'unshare -U true || unshare -r true')).end).not.toEqual({ kind: 'exit', code: 0 })
  })

  it('SBX-07, SBX-03: its own loopback is all it has, and the files that say so are not its to fill, not even as root', async () => {
    const builder = await kit.open({ nodeId: `${kit.nodeId}-b`, folder: `${kit.folder}/.b`, buildInContainers: true })
    const box = await builder.create({ ...SPEC, profile: 'build' })
    const host = readFileSync('/etc/resolv.conf', 'utf8').split('\n')
    const { out } = await sh(
      box,
      'nc -l -p 900 -e echo hi & sleep 0.3; nc localhost 900; hostname; cat /etc/resolv.conf',
    )
    expect(out).toMatch(/^hi\nsandbox\n#/)
    expect(host.filter((line) => line.startsWith('nameserver') && out.includes(line))).toEqual([])
    const filled = await sh(
      box,
      'id -u; for f in hosts hostname resolv.conf; do echo x >> /etc/$f; rm -f /etc/$f; done',
    )
    expect([filled.out, filled.err.match(/Read-only file system/g)?.length]).toEqual(['0\n', 3])
    expect((await sh(box, 'cat /etc/hosts')).out).toContain('127.0.0.1\tlocalhost')
    await box.remove()
    await builder.close()
  })
})

for (const grade of gvisor ? (['jailed', 'gvisor'] as const) : (['jailed'] as const)) {
  describe.skipIf(!engine)(`a hostile guest, grade ${grade}`, () => {
    it.runIf(root)('SBX-03: a disk that is filled is only its own', async () => {
      const box = await make({ grade, limits: { ...SMALL, diskBytes: 32 * MIB, inodes: 500 } })
      const free = (): number => statfsSync(kit.folder).bavail * statfsSync(kit.folder).bsize
      const before = free()
      const full = await sh(box, 'dd if=/dev/zero of=/workspace/f bs=1M count=500 2>&1 | tail -1; exit 1')
      expect(full.end.kind).toBe('disk')
      const home = await sh(box, 'dd if=/dev/zero of=$HOME/f bs=1M count=500 2>&1; ls -s /workspace/f $HOME/f')
      expect(home.out).toContain('No space left')
      const other = await sh(
        box,
        'for d in /tmp /dev/shm; do dd if=/dev/zero of=$d/f bs=1M count=40 2>&1 | grep -c space; rm $d/f; done',
      )
      expect(other.out).toBe('1\n1\n')
      await sh(box, 'rm /workspace/f $HOME/f')
      const many = await sh(box, 'i=0; while [ $i -lt 900 ]; do : > n$i || exit 7; i=$((i+1)); done')
      expect([many.end.kind, many.err]).toEqual(['disk', expect.stringContaining('No space left')])
      expect(before - free()).toBeLessThan(128 * MIB)
      expect((await sh(box, 'rm n*; echo fine > n; cat n')).out).toBe('fine\n')
    })

    it('SBX-04: a flood of output leaves nothing on the host and waits for its reader', async () => {
      const box = await make({ grade })
      const guest = await box.guest()
      const flood = guest.exec({ argv: ['/bin/sh', '-c', 'yes'], timeoutMs: 2_000 })
      const rss = process.memoryUsage().rss
      // Nobody reads.
      expect(await flood.ended).toEqual({ kind: 'timeout' })
      expect(process.memoryUsage().rss - rss).toBeLessThan(64 * MIB)
      const [id] = await kit.containers()
      const { text } = await ask(socket, 'GET', `/containers/${id}/json`)
      expect(JSON.parse(text)).toMatchObject({ HostConfig: { LogConfig: { Type: 'none' } }, LogPath: '' })
    })

    it('SBX-05: what reaches for the kernel is refused', async () => {
      const box = await make({ grade })
      const tries = [
        'mount -t tmpfs none /tmp',
        'mknod /workspace/d c 1 3',
        'mknod /workspace/b b 254 0',
        'echo x > /proc/sys/kernel/core_pattern',
        'echo 1 > /proc/sysrq-trigger',
        'hostname evil',
        'chroot / true',
        'echo x > /etc/passwd',
        'chown 0 /workspace',
        'cat /proc/1/environ /proc/kcore > /dev/null',
      ]
      const { out } = await sh(
        box,
        tries.map((line, i) => `(${line}) 2>/dev/null && echo "went through: ${i}"`).join('\n'),
      )
      expect(out).toBe('')
    })

    it('SBX-06: a setuid binary of the image gives nothing', async () => {
      const name = 'manyhands-test/setuid:1'
      await importRoot(
        socket,
        name,
        await busyboxRoot(['mkdir opt && cp bin/busybox opt/busybox && chmod 4755 opt/busybox']),
      )
      const box = await make({ grade, image: name })
      const { out, err } = await sh(box, 'stat -c "%a %u" /opt/busybox; /opt/busybox su -c id; id -u')
      expect(out).toBe('4755 0\n10001\n')
      expect(err).toContain('must be suid')
      await box.remove()
      await ask(socket, 'DELETE', `/images/${encodeURIComponent(name)}?force=1`)
    })

    it('SBX-07, SBX-09, SBX-18: no engine, no sibling and no network is there to be found', async () => {
      const box = await make({ grade })
      const script = [
        'find / -name "*docker*.sock" 2>/dev/null',
        'env | grep -i docker',
        'ip -o link | grep -v ": lo" | grep -v "sit0\\|tunl0\\|gre" || true',
        'ip route | grep -v "dev lo "; cat /proc/net/route | tail -n +2',
        '(echo > /dev/udp/8.8.8.8/53) 2>/dev/null && echo udp',
        'nslookup example.com 8.8.8.8 2>/dev/null | grep Name',
        'ping -c1 -W1 1.1.1.1 >/dev/null 2>&1 && echo ping',
        'for p in 2375 2376; do nc -w1 172.17.0.1 $p </dev/null 2>/dev/null && echo $p; done',
      ]
      expect((await sh(box, script.join('\n'))).out.trim()).toBe('')
    })

    it('SBX-14: nothing of the host or of the daemon is in its environment or its description', async () => {
      process.env['CANARY_TOKEN'] = 'canary-7d1f'
      const box = await make({ grade, env: { MINE: 'x' } })
      const { out } = await sh(box, 'env; cat /proc/*/environ 2>/dev/null | tr "\\0" "\\n"; mount | grep -c canary')
      const [id] = await kit.containers()
      const { text } = await ask(socket, 'GET', `/containers/${id}/json`)
      delete process.env['CANARY_TOKEN']
      expect(`${out}${text}`).not.toContain('canary-7d1f')
    })

    it('SBX-26: what does not want to end is gone all the same', async () => {
      const box = await make({ grade })
      const { out } = await sh(
        box,
        'trap "" TERM HUP INT; (trap "" TERM; (sleep 600 & sleep 601) & ) & sleep 0.2; echo $$',
      )
      expect(Number(out)).toBeGreaterThan(0)
      const pid = box.hostPid() ?? 0
      const start = performance.now()
      await box.remove()
      expect(performance.now() - start).toBeLessThan(10_000)
      expect(await kit.containers()).toEqual([])
      expect(() => readFileSync(`/proc/${pid}/stat`)).toThrow()
    })

    it('SBX-26: nothing a guest ends is the agent, and what it orphans is collected', async () => {
      const box = await make({ grade })
      const guest = await box.guest()
      await sh(box, 'kill -9 1; kill -TERM 1; kill -9 -1; kill -BUS 1; kill -STOP 1')
      expect((await sh(box, 'for i in $(seq 40); do (sleep 0.05 &); done; sleep 0.4; echo fine')).out).toBe('fine\n')
      const { out } = await sh(box, 'grep -l "^State:.Z" /proc/[0-9]*/status 2>/dev/null; cat /proc/1/comm')
      expect(out).toBe('agent\n')
      // It is still the same conversation. In gVisor a guest may end its first process, and with it all of itself
      if (grade === 'jailed') expect(await box.guest()).toBe(guest)
    })

    it.runIf(root)('F26: guests go before the daemon when the host has no memory left', async () => {
      const box = await make({ grade })
      const score = (): number => Number(readFileSync(`/proc/${box.hostPid()}/oom_score_adj`, 'utf8'))
      expect(score()).toBe(800)
      const { out } = await sh(box, 'echo -900 > /proc/self/oom_score_adj; cat /proc/self/oom_score_adj')
      expect(score()).toBe(800)
      // What gVisor shows inside is its own and means nothing outside
      if (grade === 'jailed') expect(out).toBe('800\n')
    })
  })
}

describe.skipIf(!engine)('a hostile image', () => {
  const name = `manyhands-test/hostile:1`
  afterAll(() => ask(socket, 'DELETE', `/images/${encodeURIComponent(name)}?force=1`))

  it('SBX-23: its entry point, user, folder and health check do not count', async () => {
    const changes = [
      'ENTRYPOINT ["/bin/sh","-c","echo pwned > /workspace/pwned; sleep 600"]',
      'CMD ["x"]',
      'USER root',
      'WORKDIR /proc/self/fd/8',
      'ENV HOME=/root LD_PRELOAD=/evil.so',
      'EXPOSE 80',
      'HEALTHCHECK CMD touch /workspace/health',
    ]
    await importRoot(socket, name, await busyboxRoot(), changes)
    const box = await make({ image: name })
    expect((await sh(box, 'id -u; pwd; echo $HOME; ls /workspace')).out).toBe('10001\n/workspace\n/home/agent\n')
    const [id] = await kit.containers()
    const { text } = await ask(socket, 'GET', `/containers/${id}/json`)
    const described: unknown = JSON.parse(text)
    const { digest } = box.view().image
    expect(described).toMatchObject({
      Image: digest,
      Config: { User: '10001:10001', WorkingDir: '/workspace', Healthcheck: { Test: ['NONE'] }, Image: digest },
    })
  })

  it('SBX-23: one with volumes is refused, also when its name was good before', async () => {
    await importRoot(socket, name, await busyboxRoot(), ['VOLUME /'])
    await expect(make({ image: name })).rejects.toMatchObject({ code: 'E_IMAGE' })
    await expect(make({ image: 'no-such/image:1' })).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  })

  it('SBX-25: a grade the engine has not is refused', async () => {
    await expect(make({ grade: 'microvm' })).rejects.toMatchObject({ code: 'E_GRADE' })
    expect(await kit.containers()).toEqual([])
  })
})

describe.skipIf(!engine || !gvisor)('a hostile guest under gVisor', () => {
  const inside: Partial<SandboxSpec> = { grade: 'gvisor' }

  it('SBX-01: a fork bomb ends at most its own sandbox', async () => {
    const box = await make({ ...inside, limits: { ...SMALL, pids: 256, memoryBytes: 256 * MIB } })
    const before = processes()
    const bomb = sh(box, 'i=0; while [ $i -lt 600 ]; do sleep 20 & i=$((i+1)); done; wait', 10_000)
    await new Promise((go) => setTimeout(go, 1_500))
    // Its limit on the host: gVisor has about eleven threads for each process inside.
    expect(processes() - before).toBeLessThan(256 + 12 * 256 + 100)
    expect(['pids', 'sandbox-lost', 'timeout', 'exit', 'memory']).toContain((await bomb).end.kind)
    await ended(box, 500)
    if (box.view().state === 'running') await (await box.guest()).killAll()
    expect((await sh(box, 'echo fine')).out).toBe('fine\n')
  })

  it('has room for as many processes as its limit says', async () => {
    const box = await make({ ...inside, limits: { ...SMALL, pids: 128, memoryBytes: 256 * MIB } })
    const many = 'for i in $(seq 100); do sleep 20 & done; sleep 1; jobs | wc -l'
    expect((await sh(box, many)).out.trim()).toBe('100')
  })

  it('SBX-02: memory above its limit ends at most its own sandbox', async () => {
    const box = await make({ ...inside, limits: { ...SMALL, memoryBytes: 128 * MIB } })
    const eaten = await sh(box, 'x=a; while :; do x=$x$x; done')
    expect(['memory', 'sandbox-lost']).toContain(eaten.end.kind)
    await ended(box)
    // The kernel's word may come after the end.
    await vi.waitFor(() => expect(box.view().lastEnd ?? eaten.end.kind).toBe('memory'), { timeout: 5_000 })
    expect((await sh(box, 'echo fine')).out).toBe('fine\n')
  })

  it('SBX-05: the host is not what it sees', async () => {
    const box = await make(inside)
    const { out } = await sh(box, 'dmesg | head -1; mount -t tmpfs none /workspace 2>/dev/null && echo mounted')
    expect(out).toContain('gVisor')
    expect(out).not.toContain('mounted')
  })
})
