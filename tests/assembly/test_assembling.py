"""From a spec to a model: deterministic, shared where the spec says so, described as it is."""

import json

import pytest
import torch

from lipflow_core.assembly import assemble, blank_template, build
from lipflow_core.cli import main
from lipflow_core.errors import CompatibilityError
from lipflow_core.measuring import measure
from lipflow_core.planning import plan
from lipflow_core.records import FaceState, Frame
from lipflow_core.specs import load_spec


def built(name, *overrides):
    blueprint = plan(load_spec(name, ["preset=tiny", *overrides]))
    return build(blueprint, blank_template(blueprint)), blueprint


def equal(first, second):
    states = first.state_dict(), second.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_weights_follow_from_the_seed_alone():
    torch.manual_seed(1)
    first, _ = built("lip-flow-hmc")
    torch.manual_seed(2)
    assert equal(built("lip-flow-hmc")[0], first)
    assert not equal(built("lip-flow-hmc", "seed=1")[0], first)


def test_global_randomness_is_left_alone():
    before = torch.get_rng_state()
    built("lip-flow-hmc")
    assert torch.equal(torch.get_rng_state(), before)


def test_another_prior_leaves_the_start_of_the_other_parts_as_it_was():
    flow, _ = built("lip-flow-hmc")
    kl, _ = built("lip-flow-hmc", "prior=kl", "flow=null")
    assert equal(flow.encoder, kl.encoder)
    assert equal(flow.decoder, kl.decoder)


def test_shared_slots_share_one_component():
    stages = "training.stages=[{name: train}, {name: again, prior: {type: kl, divergence: likelihood}}]"
    avatar, _ = built("dam", "driving=hmc", "encoder={same_as: driving}", stages, "fitting.prior=kl")
    assert avatar.encoder is avatar.driving
    assert avatar.prior_of("train") is avatar.prior
    assert avatar.prior_of("again") is not avatar.fitting_prior
    assert len(list(avatar.priors())) == 3


def test_equal_priors_share_one_component():
    stages = "training.stages=[{name: train, prior: kl}]"
    avatar, _ = built("dam", "driving=hmc", stages, "fitting.prior=kl")
    assert avatar.prior_of("train") is avatar.fitting_prior


def test_a_component_built_elsewhere_takes_its_slot():
    other, _ = built("dam", "seed=5")
    blueprint = plan(load_spec("dam", ["preset=tiny"]))
    avatar = assemble(blueprint.spec, template=blank_template(blueprint), decoder=other.decoder)
    assert avatar.decoder is other.decoder
    assert avatar.encoder is not other.encoder


def test_a_component_built_elsewhere_must_fit():
    wide, _ = built("dam", "code=9")
    spec = load_spec("dam", ["preset=tiny"])
    with pytest.raises(CompatibilityError, match="encoder 'dam' makes a mean of shape"):
        assemble(spec, encoder=wide.encoder)
    with pytest.raises(TypeError, match="decoder= must be a Decoder"):
        assemble(spec, decoder=wide.encoder)
    with pytest.raises(TypeError, match="no slot 'flow'"):
        assemble(spec, flow=wide.encoder)
    with pytest.raises(CompatibilityError, match="slot 'driving' is empty"):
        assemble(spec, driving=wide.encoder)


def test_a_template_of_another_subject_is_refused():
    _, blueprint = built("dam")
    small = blank_template(plan(load_spec("dam", ["preset=small"])))
    with pytest.raises(CompatibilityError, match="the template's texture"):
        assemble(blueprint.spec, template=small)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_an_error_that_says_what_to_do():
    spec = load_spec("dam", ["preset=tiny", "renderer=torch", "device=cuda"])
    with pytest.raises(CompatibilityError, match=r"sees no CUDA device\n  Set device=cpu"):
        assemble(spec, template=None)


def test_the_template_is_the_captures():
    avatar = assemble(load_spec("dam", ["preset=tiny"]))
    assert avatar.template.vertices_scale > 0
    assert avatar.template.topology.triangles.max() < len(avatar.template.vertices_mean)


def test_measuring_counts_each_part_once():
    avatar, blueprint = built("lip-flow-hmc")
    sizes = measure(avatar, blueprint)
    assert list(sizes) == ["encoder", "driving", "prior", "prior.flow", "decoder", "renderer"]
    total = sum(size.parameters for slot, size in sizes.items() if slot != "prior.flow")
    assert total == sum(parameter.numel() for parameter in avatar.parameters())
    assert sizes["renderer"].macs is None
    assert all(size.macs > 0 for slot, size in sizes.items() if slot != "renderer")


def test_measuring_changes_nothing():
    avatar, blueprint = built("lip-flow-hmc")
    avatar.decoder.eval()
    before = {name: tensor.clone() for name, tensor in avatar.state_dict().items()}
    measure(avatar, blueprint)
    assert all(torch.equal(before[name], tensor) for name, tensor in avatar.state_dict().items())
    assert (avatar.encoder.training, avatar.decoder.training) == (True, False)


@pytest.mark.parametrize(
    ("name", "slot", "macs"),
    [
        ("dam", "encoder", 2.54e9),
        ("dam", "decoder", 2.01e9),
        ("lip-flow-hmc", "prior.flow", 0.0310e9),
        ("lip-flow-keypoint", "driving", 0.0045e9),
    ],
)
def test_compute_at_the_papers_size_is_known(name, slot, macs):
    blueprint = plan(load_spec(name, ["preset=paper"]))
    sizes = measure(build(blueprint, blank_template(blueprint)), blueprint)
    assert sizes[slot].macs == pytest.approx(macs, rel=0.01)


def test_the_command_prints_the_parts(capsys):
    assert main(["assemble", "dam", "preset=tiny"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].split() == [
        "slot",
        "component",
        "plugin",
        "parameters",
        "MACs",
        "device",
        "in",
        "→",
        "out",
    ]
    assert "decoder dam" in shown


def test_the_command_prints_json_for_scripts(capsys):
    assert main(["assemble", "lip-flow-hmc", "preset=tiny", "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert {part["slot"] for part in parts} >= {"encoder", "driving", "prior", "prior.flow", "decoder", "renderer"}
    assert all(isinstance(part["parameters"], int) for part in parts)


def test_the_command_prints_a_resolved_spec(capsys, tmp_path):
    assert main(["assemble", "dam", "preset=tiny", "seed=3", "--print-spec"]) == 0
    (tmp_path / "spec.yaml").write_text(capsys.readouterr().out)
    assert load_spec(tmp_path / "spec.yaml") == load_spec("dam", ["preset=tiny", "seed=3"])


def test_check_and_out_contradict_each_other(tmp_path):
    assert main(["assemble", "dam", "--check", "--out", str(tmp_path / "model")]) == 2
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "arguments", [["dam", "--check", "seed=5"], ["--check", "dam", "seed=5"], ["dam", "seed=5", "--check"]]
)
def test_overrides_may_stand_anywhere(arguments, capsys):
    assert main(["assemble", *arguments]) == 0
    assert "the parts fit together" in capsys.readouterr().out


def test_other_arguments_out_of_place_are_wrong_use(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["assemble", "dam", "--check", "--chekc"])
    assert caught.value.code == 2
    assert "unrecognized arguments: --chekc" in capsys.readouterr().err


def test_a_part_built_for_another_code_is_refused():
    other = built("lip-kl-hmc", "code=12")[0]
    spec = load_spec("lip-kl-hmc", ["preset=tiny"])
    for slot in ("encoder", "driving", "prior", "decoder"):
        with pytest.raises(CompatibilityError, match=f"{slot}: .*12.*but the spec's code is 8"):
            assemble(spec, **{slot: getattr(other, slot)})


def test_an_avatar_shows_its_parts_and_number_of_parameters():
    avatar, _ = built("lip-flow-hmc")
    count = sum(parameter.numel() for parameter in avatar.parameters())
    assert repr(avatar).startswith(
        "Avatar(encoder=DamEncoder, driving=HmcEncoder, prior=FlowPrior, decoder=DamDecoder, "
    )
    assert repr(avatar).endswith(f", parameters={count})")
    assert "driving" not in repr(built("dam")[0])


def test_a_frame_shows_its_size_and_observations():
    observations = {"face": FaceState(torch.zeros(3, 5, 3)), "headset": FaceState(torch.zeros(3, 5, 3))}
    frame = Frame(("EXP_smile", "EXP_smile", "EXP_blink"), torch.arange(3), observations)
    assert repr(frame) == "Frame(frames=3, segments=2, observations=['face', 'headset'])"
