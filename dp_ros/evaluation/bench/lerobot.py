"""LeRobot's DiffusionPolicy with the same width, steps and horizons, where the package `lerobot` is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch

from dp_ros.task.spec import ImageStream
from dp_ros.training.settings import TrainSettings

STATE, ENVIRONMENT = 'observation.state', 'observation.environment_state'


def lerobot_chunk(settings: TrainSettings, steps: int) -> Callable[[], object] | str:
    """Return what makes one chunk by LeRobot's policy, DDIM in ``steps`` calls; or why it can't be asked for."""
    streams = settings.task.streams
    if settings.network.denoiser != 'unet':
        return f'its denoiser is a U-Net, not {settings.network.denoiser!r}'
    if any(isinstance(s, ImageStream) for s in streams):
        return 'its encoder of pictures is another one, so the networks would not be the same'
    if len(streams) < 2:
        return 'it wants a state and, beside it, pictures or the state of the environment'
    if settings.objective.prediction_type == 'velocity':
        return "it does not know prediction_type 'velocity'"
    try:
        types = importlib.import_module('lerobot.configs.types')
        diffusion = importlib.import_module('lerobot.policies.diffusion.configuration_diffusion')
        modeling = importlib.import_module('lerobot.policies.diffusion.modeling_diffusion')
    except (ImportError, RuntimeError) as error:  # torchvision beside another build of torch: a RuntimeError
        return f'lerobot cannot be imported ({error})'
    first, rest = streams[0].shape[0], sum(s.shape[0] for s in streams[1:])
    kind, feature = types.FeatureType, types.PolicyFeature
    config = diffusion.DiffusionConfig(
        device='cpu',
        input_features={
            STATE: feature(type=kind.STATE, shape=(first,)),
            ENVIRONMENT: feature(type=kind.ENV, shape=(rest,)),
        },
        output_features={'action': feature(type=kind.ACTION, shape=(len(settings.task.action.joints),))},
        n_obs_steps=settings.task.obs_horizon,
        horizon=settings.task.pred_horizon,
        n_action_steps=settings.task.exec_horizon,
        down_dims=settings.network.channels,
        kernel_size=settings.network.kernel_size,
        n_groups=settings.network.groups,
        diffusion_step_embed_dim=settings.network.level_width,
        noise_scheduler_type='DDIM',
        num_train_timesteps=settings.objective.diffusion_steps,
        beta_schedule=settings.objective.schedule,
        prediction_type=settings.objective.prediction_type,
        num_inference_steps=steps,
    )
    policy = modeling.DiffusionPolicy(config).eval()
    batch = {STATE: torch.zeros(1, first), ENVIRONMENT: torch.zeros(1, rest)}
    policy.select_action(dict(batch))  # fills its queues of observations
    return lambda: policy.predict_action_chunk(dict(batch))
