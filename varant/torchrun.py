"""torchrun, ending with the exit code of the process that failed first.

    python -m varant.torchrun --nproc-per-node 2 -m varant.train --budget 100k

Takes torchrun's own flags. torchrun itself ends with 1, and a traceback, whatever its processes
end with: 2 for what the user can mend, 75 for preempted.
"""

import signal

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main


def exit_code(code: int) -> int:
    """Of a shell's kind, of a process that may have been ended by a signal (then negative)."""
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    try:
        main()
    except ChildFailedError as failed:
        _, first = failed.get_first_failure()
        raise SystemExit(exit_code(first.exitcode)) from None
    except SignalException as stopped:  # its processes were told, and saved what they had
        raise SystemExit(130 if stopped.sigval == signal.SIGINT else 75) from None
