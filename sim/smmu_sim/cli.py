"""The ``smmu`` command: explain raw words, run scenarios and narrate them."""

import sys

import click

from smmu.params import CONFIGS, Params, ParamsError

from smmu_sim import decode as decoding
from smmu_sim.decode.cd import WORLDS
from smmu_sim.decode.pte import GRANULES
from smmu_sim.decode.register import read_register
from smmu_sim.decode.show import show
from smmu_sim.decode.stall_model import WithStallModel
from smmu_sim.decode.words import FORMATS, WordsError

__all__ = ["main"]

_BITS = {"STE": 512, "CD": 512, "command": 128, "event": 256, "descriptor": 64}
_WRONG, _MISUSED = 1, 2  # exit status
_WORDS_HELP = """
VALUE is hexadecimal; 0x before it and _ in it may be left out or given.

\b
Several VALUEs   words of 64 bits (or --word 32), the low one first, as a
                 kernel log prints them; missing ones are 0.
One VALUE        the whole structure as one number; short ones are padded
                 with zeros at the front.
@FILE            the words in a file, or the structures, one after the other.
                 Text: words apart by blanks, commas or line ends, low one
                 first; what stands before a colon (an address) and after #
                 is skipped. Binary: bytes as memory holds them. @- is the
                 standard input. What is all printable is taken for text;
                 --format decides otherwise. A path with a / or a . in it
                 needs no @.

The status is 0 if the words could be read, illegal or not, and 2 if not.
"""


def _build_options(function):
    for option in (
            click.option("--set", "settings", default="", metavar="SETTINGS",
                         help='Parameters over it, like "oas=44 term_model=1".'),
            click.option("--config", type=click.Choice(list(CONFIGS)), default="default",
                         show_default=True, help="The build whose ID registers count.")):
        function = option(function)
    return function


def _word_options(function):
    for option in (
            click.option("--brief", is_flag=True, help="Leave out what is 0 or ignored."),
            click.option("--stall", is_flag=True, help="The SMMU can stall: IDR0.STALL_MODEL is "
                                                       "0, as the model can be."),
            click.option("--format", "fmt", type=click.Choice(FORMATS), default="auto",
                         show_default=True, help="What @FILE holds."),
            click.option("--word", "width", type=click.Choice(["32", "64"]), default="64",
                         show_default=True, help="Bits of a word.")):
        function = option(function)
    return click.argument("values", nargs=-1, metavar="VALUE...")(_build_options(function))


@click.group(help="Explain what SMMUv3 software and hardware say, and play what they do.",
             context_settings={"help_option_names": ["-h", "--help"]})
def cli():
    pass


@cli.group(help="Explain raw words, and flag what is illegal with what it causes.")
def decode():
    pass


def _explain(what, decoder, *, values, width, fmt, brief, stall, config, settings):
    params = Params.from_settings(config, settings)
    if stall:
        params = WithStallModel(params, 0)
    structures = decoding.read_words(values, _BITS[what], what=f"the {what}", width=int(width),
                                     fmt=fmt)
    for number, raw in enumerate(structures):
        if len(structures) > 1:
            click.echo(click.style(f"[{number}] ", bold=True), nl=False)
        _print(decoder(raw, params), brief)


def _print(decoded, brief):
    for line in show(decoded, style=click.style, brief=brief):
        click.echo(line)


@decode.command(help="A stream table entry (IHI 0070: 5.2), 8 words." + _WORDS_HELP)
@_word_options
def ste(**options):
    _explain("STE", decoding.decode_ste, **options)


@decode.command(help="A context descriptor (IHI 0070: 5.4), 8 words." + _WORDS_HELP)
@click.option("--world", type=click.Choice(WORLDS), default="el1", show_default=True,
              help="The StreamWorld of the STE that points here.")
@click.option("--s1stalld", is_flag=True, help="STE.S1STALLD is 1.")
@_word_options
def cd(world, s1stalld, **options):
    _explain("CD", lambda raw, params: decoding.decode_cd(raw, params, world, s1stalld), **options)


@decode.command(help="A command (IHI 0070: 4), 2 words." + _WORDS_HELP)
@_word_options
def command(**options):
    _explain("command", decoding.decode_command, **options)


@decode.command(help="An event record (IHI 0070: 7.3), 4 words." + _WORDS_HELP)
@_word_options
def event(**options):
    _explain("event", decoding.decode_event, **options)


@decode.command(help="A translation table descriptor (DDI 0487: D8.3), 1 word." + _WORDS_HELP)
@click.option("--stage", type=click.Choice(["1", "2"]), default="1", show_default=True)
@click.option("--level", type=click.IntRange(0, 3), default=3, show_default=True)
@click.option("--granule", type=click.Choice(list(GRANULES), case_sensitive=False), default="4k",
              show_default=True)
@click.option("--output-bits", type=click.IntRange(32, 56), default=None,
              help="IPS or S2PS in bits.  [default: OAS of the build]")
@click.option("--fwb", is_flag=True, help="STE.S2FWB is 1.")
@_word_options
def pte(stage, level, granule, output_bits, fwb, **options):
    _explain("descriptor", lambda raw, params: decoding.decode_pte(
        raw, params, stage=int(stage), level=level, granule=GRANULES[granule.lower()],
        output_bits=output_bits, fwb=fwb), **options)


@decode.command(help="""A register (IHI 0070: 6): NAME=VALUE, or NAME VALUE.

\b
NAME    as in REGISTERS.md: CR0, EVENTQ_PROD, REMAP_IPA[2], or the name of a
        counter; or the offset in hexadecimal (page 1 begins at 10000, the
        own frame at 40000).
VALUE   hexadecimal.

The status is 0 if both could be read, 2 if not.""")
@click.argument("values", nargs=-1, metavar="NAME VALUE")
@click.option("--brief", is_flag=True, help="Leave out what is 0.")
@_build_options
def register(values, brief, config, settings):
    params = Params.from_settings(config, settings)
    if not values:
        raise WordsError("no register: expected NAME=VALUE or NAME VALUE")
    found, index, value = read_register(values)
    _print(decoding.decode_register(found, value, params, index), brief)


@cli.command(help="List the scenarios: name, two blanks, what it shows.")
def scenarios():
    from smmu_sim.scenarios import all_scenarios

    for each in all_scenarios():
        click.echo(f"{each.name}  {each.shows}")


@cli.command(help="Run a scenario and tell what happens: registers, commands, STEs and CDs before "
                  "and after, what devices saw, interrupts, events; then the checks. The status "
                  "is 1 if a check failed. `smmu scenarios` lists the names.")
@click.argument("name")
@click.option("--backend", type=click.Choice(["rtl", "model"]), default="model",
              show_default=True, help="The core in a simulator, or the reference model.")
@click.option("--wave", is_flag=True, help="Leave a VCD and a GTKWave save file (with "
                                           "--backend rtl).")
@click.option("--quiet", is_flag=True, help="Print the checks alone.")
@_build_options
def run(name, backend, wave, quiet, config, settings):
    from smmu_sim.scenarios.play import PlayError, play

    try:
        ok = play(name, backend=backend, wave=wave, quiet=quiet, config=config, settings=settings)
    except PlayError as error:
        raise click.UsageError(str(error)) from None
    raise SystemExit(0 if ok else _WRONG)


def main(arguments=None):
    """Run the command line; errors are one line on the standard error, with status 2."""
    try:
        status = cli(arguments, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        sys.exit(_MISUSED)
    except click.ClickException as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        sys.exit(_MISUSED)
    except (ParamsError, WordsError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(_MISUSED)
    except click.Abort:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
