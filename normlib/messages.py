"""Every sentence that a widget, a check or the docket shows: one table, so that a second
language is a second table. {names} are filled in by the code that shows the sentence."""

EXPLORER = {
    "label": "Axes explorer: {shape}",
    "sheet": "Tensor {shape}. Arrow keys choose a cell.",
    "sees": "What does this output see?",
    "reaches": "What does this input reach?",
    "change": "What if I change it?",
    "before": "input values",
    "after": "output values",
    "groups": "groups",
    "uses": "This output uses {count} values: {what}.",
    "uses_itself": "This output uses 1 value: its own input.",
    "uses_other": "This output uses 1 value: {what}.",
    "uses_nothing": "No input was seen to move this output.",
    "moves": "This input moves {count} outputs: {what}.",
    "moves_itself": "This input moves 1 output: its own.",
    "moves_other": "This input moves 1 output: {what}.",
    "moves_nothing": "This input was not seen to move an output.",
    "gradient": "The gradient of this output goes to {count} of the inputs: {what}.",
    "gradient_nothing": "In no probe did a gradient go from this output to an input.",
    "taught": "This input gets a gradient from {count} of the outputs: {what}.",
    "taught_nothing": "In no probe did this input get a gradient from an output.",
    "method_whole": "{name}",
    "method_value": "{name}: its value",
    "method_gradient": "{name}: its gradient",
    "no_block": "cells that do not form a block along the axes",
    "every": "every {axis}",
    "one": "{axis} {index}",
    "range": "{axis}s {first} to {last}",
    "several": "{axis}s {indices}",
    "arithmetic_standardise": "(x − mean) / √(var + ε) = "
    "({x} − {mean}) / √({var} + {eps}) = {normalized}",
    "arithmetic_running": "(x − running_mean) / √(running_var + ε) = "
    "({x} − {mean}) / √({var} + {eps}) = {normalized}",
    "arithmetic_centre": "x − mean = {x} − {mean} = {normalized}",
    "arithmetic_rms": "x / √(mean of x² + ε) = {x} / √({square} + {eps}) = {normalized}",
    "arithmetic_length": "x / length = x / √(sum of x²) = {x} / {size} = {normalized}",
    "no_arithmetic": "No formula known here, with ε = {eps}, gives the output {output} from these "
    "values.",
    "unchanged": "Nothing is changed yet: drag a cell, press + or −, or type a value.",
    "moved": "{moved} of {count} outputs moved; the largest by {size} ({cell}).",
    "moved_by_eps": "With ε = 0 none would move: what you see is ε.",
    "unmoved": "No output moved by more than a thousandth of the outputs' deviation.",
    "takes_out_shift": "No output moved: {method} takes out a shift of {part}.",
    "takes_out_scale": "No output moved: {method} takes out the scale of {part}.",
    "takes_out_both": "No output moved: {method} takes out the shift and the scale of {part}.",
    "rest_eps": "What is left, {size} at most, is ε's doing.",
    "rest": "The largest difference is {size}.",
    "waiting": "The page does not know this function's arithmetic, and no answer has come from "
    "Python. {count} outputs can move: they are outlined.",
    "failed": "With this change the function fails: {error}",
    "part_cell": "this value",
    "part_tile": "its tile",
    "part_column": "its {column}",
    "part_row": "its {row}",
    "one_cell": "one value",
    "one_tile": "one tile",
    "one_column": "one {column}",
    "one_row": "one {row}",
    "less": "less",
    "more": "more",
    "outlier": "outlier",
    "back": "put back",
    "value": "value",
    "add": "add",
    "times": "times",
    "scale": "how far an output moved, from 0 to {top} or more (two deviations of the outputs). "
    "Dots: what you changed. Blue line: what this output uses.",
    "histogram": "The values this output uses: before (dashed) and now",
    "equal": "The code gives the same: {output}.",
    "differs": "The code gives {output}: more happens to this value (weight and bias, another "
    "epsilon, or something else).",
    "reach_whole": "Change x = {x} a little, and each highlighted output changes.",
    "reach_varies": "Change x = {x}: each highlighted output can change, for some inputs.",
    "reach_value": "Change x = {x} a little, and each highlighted output changes.",
    "reach_gradient": "Change x = {x} a little: a highlighted output need not change at all. "
    "Only gradients come from there.",
    "readout_count": "count",
    "readout_mean": "mean",
    "readout_std": "std",
    "readout_x": "x",
    "readout_normalized": "normalised",
    "readout_output": "output",
    "cube": "The same tensor as a cube",
    "position": "position",
    "table": "Mean of each tile; outlined: tiles with a value that enters",
    "table_reaches": "Mean of each tile; outlined: tiles with a value that moves",
    "table_change": "Mean of each tile of the input; outlined: tiles with an output that moved",
    "help_change": "Drag a cell up or to the right, or a header for all it stands for. "
    "+ and − change by a quarter of the deviation, o makes an outlier, c chooses what is "
    "changed, 0 puts everything back. Arrow keys go to other cells.",
    "help": "Point or use the arrow keys to choose a cell, click to hold it. [ and ] change the "
    "method, q the question, v the values. Drag to change a value.",
    "help_groups": "Comma and full stop change the groups.",
    "held": "Held: click again to let go.",
    "note_whole": "Measured from the running code: highlighted where the gradient is not zero, and "
    "moving the input agrees with it.",
    "note_varies": "Measured from the running code. Which values count depends on the input: "
    "highlighted are all that counted in some probe.",
    "note_value": "Measured by moving one input after another: highlighted where the value "
    "changes. A part of this function is hidden from the gradient, which goes elsewhere.",
    "note_gradient": "Measured from the running code: highlighted where the gradient is not zero. "
    "A part of this function is hidden from it: the value uses other inputs.",
}

AXES = {  # the word for one step along an axis, by layout
    "NC": {"N": "example", "C": "feature"},
    "NCL": {"N": "example", "C": "channel", "L": "position"},
    "NLC": {"N": "example", "L": "token", "C": "feature"},
    "NCHW": {"N": "example", "C": "channel", "H": "row", "W": "column"},
    "OI": {"O": "unit", "I": "input"},  # weights, as torch stores them
    "OIHW": {"O": "filter", "I": "channel", "H": "row", "W": "column"},
}

FLIPBOOK = {
    "label": "Pictures to flip through",
    "setting": "{name} = {value}",
    "progress": "drawing",
}

PREDICT = {
    "label": "Predict first",
    "lock": "Lock my answer",
    "choose": "Choose one, then lock it.",
    "locked": "Locked: {choice}. Run on; the answer shows here when it has been measured.",
    "right": "You said {choice}, and that is what came out.",
    "wrong": "You said {choice}. What came out: {answer}.",
    "yours": "yours",
    "measured": "measured",
}

CHECK = {
    "pass": "Correct. {detail}",
    "fail": "Not yet. {detail}",
    "all_equal": "Your answer agrees on all {count} inputs (largest difference {error:.1g}).",
    "value_equal": "{value} is right.",
    "nothing": "Your function returned None. Does it have a return line?",
    "unchanged": "Your function still returns its input unchanged. Replace the stub.",
    "blank": "There is no answer yet: replace the ... with yours.",
    "raised": "On an input of shape {shape} your function raised {error}",
    "not_function": "{kind} is not a function. Define one with def.",
    "not_floating": "Your function returned a tensor of {dtype}; floating point is needed.",
    "not_tensor": "Your function returned {kind}, and an ordinary tensor is expected.",
    "shape": "The shape is {got}; expected {expected}.",
    "not_finite": "The result has {count} values that are NaN or infinite. Is there a division "
    "by zero, or a square root of a negative number?",
    "touched": "Your function changed its input in place. Compute a new tensor.",
    "off": "The largest difference is {error:.3g}, at index {index}: you give {got}, expected "
    "{expected}. {share:.0%} of the values agree.",
    "scaled": "Your values are {ratio:.4f} times the expected ones everywhere.",
    "shifted": "Your values are the expected ones plus {shift:.4g} everywhere.",
    "value_off": "{value} is not it.",
}

TRIAL = {
    "title": "The article on trial:",
    "summary": "{count} claims: {counts}.",
    "order": ["holds", "condition", "partly", "misleading", "refuted", "wrong", "untried"],
    "holds": "holds",
    "condition": "with a condition",
    "partly": "in part",
    "misleading": "misleading",
    "refuted": "does not hold here",
    "wrong": "wrong",
    "untried": "not weighed yet",
    "supports_True": "✓",
    "supports_False": "✗",
    "limits_True": "but:",
    "limits_False": "(not so here:)",
    "source": "Source",
}

ENVIRONMENT = {
    "ready": "Your environment is ready.",
    "differs": "Some packages have another version than the course was tested with.",
    "broken": "Something is missing.",
    "summary": "Python {python}, torch {torch}.",
    "missing": "{name} is not installed.",
    "other": "{name} is {version}; the course was tested with {wanted}.",
    "remedy": "In the course's folder run: pip install -r requirements.txt -e . Then restart the "
    "kernel. If widgets stay blank, restart JupyterLab too.",
}

STILL = {
    "predict": "Run the notebook to choose an answer and lock it.",
    "flipbook": "Run the notebook to flip through {choices}.",
    "choice": "{name} ({values})",
    "explorer": "Run the notebook to point at other cells, and to change them, under {methods}.",
    "cell": "{method}, {cell}. {sentence}",
    "sheet": "A row of tiles for every {row}, a column for every {column}; the chosen cell stands "
    "out, the cells in that sentence are tinted.",
}
