/** Imported before all else by a process that stands for a daemon: its heap is kept as one's. */
import { keepHeapSmall } from '../../daemon/cli/small-heap.ts'

keepHeapSmall()
