"""torchrun, ending with the exit code of the process that failed first.

    python -m varant.torchrun --nproc-per-node 2 -m varant.train --budget 100k

Takes torchrun's own flags. torchrun itself ends with 1, and a traceback, whatever its processes
end with: 2 for what the user can mend, 75 for preempted.
"""

import signal

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

if __name__ == "__main__":
    try:
        main()
    except ChildFailedError as failed:
        _, first = failed.get_first_failure()
        code = first.exitcode
        if code < 0:  # a signal ended it, for which shells have 128 and more
            code = 128 - code
        raise SystemExit(code) from None
    except SignalException as stopped:  # its processes were told, and saved what they had
        raise SystemExit(130 if stopped.sigval == signal.SIGINT else 75) from None
