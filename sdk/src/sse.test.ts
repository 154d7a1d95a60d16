import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ServerEvent, SseParser } from './sse.ts'

function parse(text: string, size = 7, limit = 1000): ServerEvent[] {
  const parser = new SseParser(limit)
  const bytes = Buffer.from(text)
  const events: ServerEvent[] = []
  for (let at = 0; at < bytes.length; at += size) events.push(...parser.feed(bytes.subarray(at, at + size)))
  return events
}

describe('SseParser', () => {
  it('reads ids, names, several data lines, comments and both line ends', () => {
    const text = ': hello\n\nid: 1\ndata: a\ndata:b\n\r\nevent: end\r\ndata: ü\r\n\r\ndata: not finished\n'
    expect(parse(text)).toEqual([
      { id: '1', name: 'message', data: 'a\nb' },
      { id: '1', name: 'end', data: 'ü' },
    ])
  })

  it('gives the same events however the bytes are cut', () => {
    const text = 'id: 7\nevent: log\ndata: {"text":"grüße 🎉"}\n\n:\n\ndata: 2\n\n'
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 80 }), (size) => {
        expect(parse(text, size)).toEqual(parse(text, 1000))
      }),
    )
  })

  it('SDK-07 refuses an event or a line without end, and bytes that are no UTF-8', () => {
    const tooMuch: unknown = expect.objectContaining({ code: 'E_PROTOCOL' })
    expect(() => parse('x'.repeat(2000))).toThrow(tooMuch)
    expect(() => parse('data: 1234567890\n'.repeat(200))).toThrow(tooMuch)
    expect(() => parse('event: x\n'.repeat(500))).toThrow(tooMuch)
    expect(() => [...new SseParser(10).feed(Uint8Array.of(0xff))]).toThrow(tooMuch)
  })

  it('is not worn out by heartbeats', () => {
    expect(parse(':\n\n'.repeat(5000))).toEqual([])
    expect(parse(': beat\n'.repeat(5000))).toEqual([])
  })
})
