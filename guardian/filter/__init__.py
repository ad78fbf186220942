"""The flow filter: new flows of the home's devices are judged here, and the kernel carries what was judged."""
