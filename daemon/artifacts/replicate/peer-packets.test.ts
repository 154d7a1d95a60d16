/** What a peer streams is held only as far as it is of use. */
import { expect, test } from 'vitest'
import { DELIMITER, FLUSH, packet, PacketReader } from '../../../protocol/artifact/pkt-line.ts'
import { fetchRequest, readFetchRequest } from './fetch-request.ts'
import { readRecords, recordPackets } from './record-stream.ts'

const AT_MOST = 100

/** These, and then the last of them again and again: whoever reads on and on fails. */
async function* endless(...packets: Buffer[]): AsyncGenerator<Uint8Array> {
  for (let sent = 0; sent < AT_MOST; sent++) yield packets[Math.min(sent, packets.length - 1)] ?? Buffer.of()
  throw new Error('it was read on and on')
}

async function* pieces(...packets: Buffer[]): AsyncGenerator<Uint8Array> {
  yield* packets
}

test('records in packets that hold nothing are refused, and do not pile up', async () => {
  const reader = new PacketReader(endless(packet('{}'), packet('')))
  await expect(readRecords(reader)).rejects.toMatchObject({ code: 'E_PROTOCOL' })
  expect(await readRecords(new PacketReader(pieces(recordPackets('{}'), FLUSH)))).toEqual(['{}'])
})

test('a request to fetch is refused at the first line that has no place there', async () => {
  const line = packet('x'.repeat(60_000))
  const begun = [packet('command=fetch\n'), packet('agent=manyhands\n'), packet('object-format=sha1\n'), DELIMITER]
  for (const packets of [[line], [...begun, line]])
    await expect(readFetchRequest(new PacketReader(endless(...packets)))).rejects.toMatchObject({ code: 'E_PROTOCOL' })
  const wanted = { wants: ['1'.repeat(40)], haves: ['2'.repeat(40)] }
  expect(await readFetchRequest(new PacketReader(pieces(fetchRequest(wanted))))).toEqual(wanted)
})
