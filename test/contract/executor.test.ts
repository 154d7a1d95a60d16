import { hostEntry } from '../../daemon/exec/isolate/host-entry.ts'
import { createIsolateExecutor } from '../../daemon/exec/isolate/isolate-executor.ts'
import { probe } from '../../daemon/exec/isolate/jail-probe.ts'
import { executorSuite } from './executor-suite.ts'

executorSuite('isolate executor, strongest jail', () => createIsolateExecutor())

const plain = await probe(['none'], hostEntry())
executorSuite('isolate executor, plain process', () => createIsolateExecutor({ jail: plain }))

const unshare = await probe(['unshare', 'none'], hostEntry())
if (unshare.tools.mechanism === 'unshare')
  executorSuite('isolate executor, unshare', () => createIsolateExecutor({ jail: unshare }))
else console.warn('SKIPPED: the unshare jail needs root and util-linux here:', unshare.missing)
