import { describe, expect, it } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import { createLogger } from './logger.ts'

function capture() {
  const lines: string[] = []
  const logger = createLogger({
    level: 'debug',
    sink: { write: (line) => void lines.push(line), close: () => undefined },
    node: 'n1',
  })
  const last = (): Record<string, unknown> => JSON.parse(lines.at(-1) ?? '') as Record<string, unknown>
  return { lines, logger, last }
}
const ESC = String.fromCharCode(27)
const BIDI = String.fromCharCode(0x202e)

describe('the logger', () => {
  it('writes one JSON object a line with level, time and node', () => {
    const { lines, logger, last } = capture()
    logger.info({ task: 't1' }, 'task accepted')
    expect(last()).toMatchObject({ level: 'info', node: 'n1', task: 't1', msg: 'task accepted' })
    expect(lines).toHaveLength(1)
  })

  it('takes secrets out by name at any depth, and by shape in text', () => {
    const { lines, logger } = capture()
    const canary = 'canary0123456789abcdefghij'
    logger.info(
      {
        token: canary,
        headers: { Authorization: `Bearer ${canary}` },
        a: [{ psk: canary, apiToken: canary }],
        invite: canary,
        cause: new Error(`Bearer ${canary}`),
      },
      `got Bearer ${canary}`,
    )
    logger.info(`mht_${canary} mh1${canary} http://x:mha_${canary}@127.0.0.1/git/a.git`)
    logger.child({ secret: canary }).warn('x')
    logger.error(new MeshError('E_INVITE', 'refused', { details: { invite: canary }, cause: { private_key: canary } }))
    expect(lines.join('')).not.toContain(canary)
    expect(lines.join('')).toContain('[redacted]')
  })

  it('keeps code, message, stack and causes of errors', () => {
    const { logger, last } = capture()
    logger.error({ err: new MeshError('E_STORAGE', 'Cannot write', { cause: new Error('disk full') }) }, 'failed')
    expect(last()).toMatchObject({
      err: { code: 'E_STORAGE', message: 'Cannot write', cause: { message: 'disk full' } },
    })
  })

  it('RES-06 writes one bounded, escaped line for each event', () => {
    const { lines, logger, last } = capture()
    const big = 'A'.repeat(10 << 20)
    logger.info(
      { text: big, list: Array(1e5).fill(big), deep: JSON.parse('['.repeat(1000) + ']'.repeat(1000)) as unknown },
      big,
    )
    logger.info(`line\n{"level":"fatal"}${ESC}]52;c;x${BIDI}\u009b31m`)
    logger.info({ guest: `a\r\nb${ESC}[2J` })
    expect(lines).toHaveLength(3)
    for (const line of lines) {
      expect(line.length).toBeLessThan(64 << 10)
      expect(line.indexOf('\n')).toBe(line.length - 1)
      expect([ESC, BIDI, '\u009b', '\r'].some((character) => line.includes(character))).toBe(false)
    }
    expect(last()).toMatchObject({ level: 'info', guest: `a\r\nb${ESC}[2J` })
  })

  it('RES-06 a flood of one warning leaves others, and errors, alone', () => {
    const { lines, logger } = capture()
    for (let i = 0; i < 5_000; i++) logger.warn({ what: 'member-list-refused', detail: `${i}` }, 'alarm')
    expect(lines).toHaveLength(20)
    logger.warn({ what: 'two-instances' }, 'alarm')
    for (let i = 0; i < 30; i++) logger.error('failed')
    expect(lines).toHaveLength(51)
  })

  it('is not brought down by hostile objects', () => {
    const { lines, logger } = capture()
    const loop: Record<string, unknown> = {}
    loop['self'] = loop
    logger.info({
      loop,
      get bad(): string {
        throw new Error('no')
      },
      big: 10n,
      f: () => 1,
    })
    expect(lines).toHaveLength(1)
  })
})
