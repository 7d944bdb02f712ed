"""Distillation: a network learns to take in one sampling step what a trained one, its teacher, takes in several.

Progressive distillation (Salimans and Ho 2022, algorithm 2), with as many of the teacher's steps to one of the
student's as the settings say. The student keeps the teacher's schedule and sampler, so what comes out is an ordinary
bundle that is sampled in `sampling_steps` steps.

==========  =======================================================================================
symbol      meaning
==========  =======================================================================================
x_k         recorded actions with noise of a level that the student visits
x_next      where the teacher's steps lead from x_k: the level that the student visits next
m           the student's output whose one step leads from x_k to x_next: what it learns
==========  =======================================================================================
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dp_ros.diffusion.coefficients import coefficients_for, samplers_for
from dp_ros.diffusion.samplers import Coefficients, SamplerSettings
from dp_ros.diffusion.schedule import ScheduleSpec, amplitudes
from dp_ros.errors import ConfigError
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.policy.normalizer import Normalizer
from dp_ros.task.yaml_reader import to_plain
from dp_ros.training.init_from import check_alike
from dp_ros.training.objective import Objective, mean_error
from dp_ros.training.run_folder import load_network, trained_folder
from dp_ros.training.settings import TrainSettings


class Distillation:
    """The loss of a student of ``teacher``, called as `dp_ros.training.objective.Objective` is.

    Parameters
    ----------
    student, teacher
        Schedules of both: the same noise, whatever each predicts.
    network
        The teacher's, which stays as it is.
    sampling_steps, teacher_steps
        Network calls for a chunk, of the student and of the teacher.

    """

    def __init__(
        self,
        student: ScheduleSpec,
        teacher: ScheduleSpec,
        network: DiffusionNetwork,
        *,
        sampling_steps: int,
        teacher_steps: int,
    ) -> None:
        self._each = teacher_steps // sampling_steps
        self._teacher = network.eval().requires_grad_(False)
        own, taught = (_table(spec, n) for spec, n in ((student, sampling_steps), (teacher, teacher_steps)))
        self._levels, self._walk, self._clip = torch.tensor(own.levels), _walk(taught), taught.clip
        self._signal, self._noise = (torch.tensor(a[own.levels]).float() for a in amplitudes(student))
        # One step without clipping, x_next = of_x * x_k + of_m * m, is solved for m.
        gained = own.to_x_0 * own.gain
        self._of_x = torch.tensor(gained * own.from_x + own.to_x)
        self._of_m = torch.tensor(gained * own.from_m + own.to_m)

    def __call__(
        self,
        network: DiffusionNetwork,
        streams: tuple[Tensor, ...],
        actions: Tensor,
        generator: torch.Generator,
        counted: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch, as `Objective` does; all actions count."""
        assert counted is None, 'settings refuse it'
        device = actions.device
        noise = torch.randn(actions.shape, generator=generator).to(device)
        step = torch.randint(0, len(self._levels), (len(actions),), generator=generator)
        x_k = _at(self._signal, step, actions) * actions + _at(self._noise, step, actions) * noise
        target = self.target(x_k, step, streams)
        return mean_error(torch.square(network(x_k, self._levels[step].to(device), *streams) - target))

    def target(self, x_k: Tensor, step: Tensor, streams: tuple[Tensor, ...]) -> Tensor:
        """Return the output m at x_k (B, P, A) with which the student's ``step`` (B,) leads where the teacher gets."""
        return (self.teach(x_k, step, streams) - _at(self._of_x, step, x_k) * x_k) / _at(self._of_m, step, x_k)

    @torch.no_grad()
    def teach(self, x_k: Tensor, step: Tensor, streams: tuple[Tensor, ...]) -> Tensor:
        """Return where the teacher gets from x_k (B, P, A) in the stead of the student's ``step`` (B,)."""
        with torch.autocast(x_k.device.type, enabled=False):  # gain is about 2000 at the noisiest level
            cond = self._teacher.encoder(*streams)
            for i in range(self._each):
                row = self._walk[step * self._each + i].to(x_k.device)
                gain, from_x, from_m, to_x_0, to_x, to_m = row[:, 1:, None, None].unbind(1)
                m = self._teacher.denoiser(x_k, row[:, 0].to(torch.int64), cond)
                x_0 = gain * (from_x * x_k + from_m * m)
                if self._clip:
                    x_0 = x_0.clamp(-1.0, 1.0)
                x_k = to_x_0 * x_0 + (to_x * x_k + to_m * m)
        return x_k


def _at(table: Tensor, step: Tensor, like: Tensor) -> Tensor:
    return table[step].to(like.device)[:, None, None]


def _table(spec: ScheduleSpec, sampling_steps: int) -> Coefficients:
    return coefficients_for(spec, SamplerSettings(sampler=samplers_for(spec)[0], sampling_steps=sampling_steps))


def _walk(table: Coefficients) -> Tensor:
    """Return the teacher's steps as rows: level, gain, from_x, from_m, to_x_0, to_x, to_m."""
    columns = (table.levels, table.gain, table.from_x, table.from_m, table.to_x_0, table.to_x, table.to_m)
    return torch.stack([torch.tensor(c).float() for c in columns], dim=1)


def make_objective(
    settings: TrainSettings, network: DiffusionNetwork, normalizer: Normalizer
) -> Objective | Distillation:
    """Return the loss that ``settings`` ask for; with a teacher, ``network`` starts from it where they are built alike.

    Raises
    ------
    ConfigError
        If the teacher is of another task, of other noise, or normalizes otherwise.

    """
    asked = settings.objective.distill
    if not asked.teacher:
        return Objective(settings.objective)
    taught, teacher, its_normalizer, _ = load_network(trained_folder('distill.teacher', asked.teacher))
    if not isinstance(teacher, DiffusionNetwork):
        raise ConfigError(f'distill.teacher: got {asked.teacher!r} of family sequence, allowed one of family diffusion')
    student_spec, teacher_spec = settings.objective.spec, taught.objective.spec

    check_alike(
        f'distill.teacher {asked.teacher}',
        (
            ('task', taught.task, settings.task),
            ('guidance', taught.task.guidance, ''),
            ('schedule', teacher_spec.name, student_spec.name),
            ('diffusion_steps', teacher_spec.diffusion_steps, student_spec.diffusion_steps),
            ('joint_velocities', teacher_spec.joint_velocities, student_spec.joint_velocities),
            ('prefix_steps', teacher_spec.prefix_steps, student_spec.prefix_steps),
            # A clip is beyond all that is learnt.
            ('normalizer', to_plain(replace(its_normalizer, clip=0.0)), to_plain(replace(normalizer, clip=0.0))),
        ),
    )
    if taught.network == settings.network:
        network.load_state_dict(teacher.state_dict())
    return Distillation(
        student_spec,
        teacher_spec,
        teacher.to(next(network.parameters()).device),
        sampling_steps=asked.sampling_steps,
        teacher_steps=asked.teacher_steps,
    )
