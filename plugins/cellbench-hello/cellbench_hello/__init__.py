from cellbench import hookimpl
from cellbench.hookspecs import RegisterCell


@hookimpl
def register_cells(register: RegisterCell) -> None:
    register(name="hello", factory="cellbench_hello.cell:Hello", description="leaky network; weights of nn.Linear")
